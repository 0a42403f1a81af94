/**
 * Recovery kits as people see them. The secret half is made in the browser or by `holdfast setup` and never comes here;
 * keyd knows the public halves, challenges the holder, and makes the repository once the first kit is proven.
 */
import { recordAudit, type Actor } from '../audit/index.ts';
import { listLackingKeys } from '../backups/index.ts';
import type { KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { Config } from '../lib/config.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { BeginKitReply, RecoveryKit, RecoveryKits } from './schema.ts';
import { requireOwnedVolume } from './host-machine.ts';
import { insertKeyEvents } from './kits/queries.ts';
import { settleIn } from './kits/settle.ts';
import { getAppliance } from './queries.ts';
import { listSealedKits } from './sealed-kits.ts';

export interface KitDeps {
  config: Pick<Config, 'hostSocket' | 'dataDir'>;
  db: Database;
  clock: Clock;
  keys: Pick<
    KeyClient,
    | 'status'
    | 'prepareRepository'
    | 'beginKit'
    | 'challengeKit'
    | 'proveKit'
    | 'claimRepository'
    | 'keysObjects'
  >;
}

/** Every kit that opens the backups of this appliance, and what everyone may know of the repository. */
export async function listRecoveryKits(deps: Pick<KitDeps, 'keys' | 'config' | 'db'>): Promise<RecoveryKits> {
  const sealed = await listSealedKits(deps);
  const { repository } = await deps.keys.status();
  const { repositoryId, trustRoot, generation, writeOnly } = repository;
  const items = repository.kits.map((kit): RecoveryKit => ({
    id: kit.id,
    recipient: kit.recipient,
    state: 'proven',
    createdAt: kit.addedAt,
    provenAt: kit.provenAt,
    sealedCopy: sealed.includes(kit.id),
  }));
  const targetsBehind = (await listLackingKeys(deps)).map((target) => target.name);
  return { items, repository: { repositoryId, trustRoot, generation, writeOnly, targetsBehind } };
}

/**
 * Starts the proof of a new kit.
 *
 * @throws HoldfastError `wrong_state` before the appliance has a name, which the kit carries.
 */
export async function beginRecoveryKit(
  deps: KitDeps,
  recipient: string,
  actor: Actor,
): Promise<BeginKitReply> {
  const appliance = await getAppliance(deps.db);
  if (appliance.claimed_at === null || appliance.name === null) {
    throw new HoldfastError('wrong_state', 'The appliance has no name yet', {
      hint: 'Name it first: a kit says which appliance it is for.',
    });
  }
  const { repositoryId, trustRoot } = await deps.keys.prepareRepository();
  const { kitId, challenge } = await deps.keys.beginKit(recipient);
  await writeTransaction(deps.db, async (tx) => {
    await noteKit(tx, deps, 'made', kitId);
    await recordKitAct(tx, deps, actor, { action: 'appliance.recovery-kit.begun', kitId });
  });
  return {
    kitId,
    repositoryId,
    trustRoot,
    applianceName: appliance.name,
    createdAt: deps.clock.now().toISOString(),
    volumeRecoveryKey: null,
    challenge,
  };
}

/** Starts another proof of a kit that is known: proof grows old. @throws HoldfastError `not_found` */
export async function challengeRecoveryKit(deps: KitDeps, kitId: string): Promise<{ challenge: string }> {
  return deps.keys.challengeKit(kitId);
}

/**
 * Ends a proof. With the first proven kit the repository comes to life.
 *
 * @param response what `answerKitChallenge` gave for the challenge.
 * @throws HoldfastError `wrong_key` when the holder does not have the kit's secret key, `not_found` when no proof was begun,
 * `wrong_state` while a restart of the machine would empty its data volume: what backups rest on must not be lost with it.
 */
export async function proveRecoveryKit(
  deps: KitDeps,
  kitId: string,
  response: string,
  actor: Actor,
): Promise<RecoveryKit> {
  await requireOwnedVolume(deps);
  try {
    await deps.keys.proveKit(kitId, response);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'wrong_key') {
      await writeTransaction(deps.db, (tx) =>
        recordKitAct(tx, deps, actor, { action: 'appliance.recovery-kit.refused', kitId, result: 'refused' }),
      );
    }
    throw error;
  }
  await deps.keys.claimRepository();
  await writeTransaction(deps.db, async (tx) => {
    await settleIn(tx, deps);
    await noteKit(tx, deps, 'proven', kitId);
    await recordKitAct(tx, deps, actor, { action: 'appliance.recovery-kit.proven', kitId });
  });
  const kit = (await listRecoveryKits(deps)).items.find((candidate) => candidate.id === kitId);
  if (kit === undefined) throw new HoldfastError('not_found', 'There is no such recovery kit');
  return kit;
}

function noteKit(
  tx: WriteTransaction,
  { clock }: Pick<KitDeps, 'clock'>,
  kind: 'made' | 'proven',
  kitId: string,
): Promise<void> {
  const at = clock.now();
  return insertKeyEvents(tx, [{ kind, at, kitId, generations: null }], at);
}

function recordKitAct(
  tx: WriteTransaction,
  deps: Pick<KitDeps, 'clock'>,
  actor: Actor,
  { action, kitId, result = 'done' }: { action: string; kitId: string; result?: 'done' | 'refused' },
): Promise<unknown> {
  return recordAudit(tx, deps.clock, actor, { action, objectType: 'recovery-kit', objectId: kitId, result });
}
