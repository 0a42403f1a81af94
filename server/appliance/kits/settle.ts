/**
 * Brings the register in step with the keyring, which is the truth about what opens the backups: what a crash between the two, an older
 * version or a recovered database left out is added, with the dates that the keyring knows. Events are only ever added.
 */
import { recordAudit, systemActor, type Actor } from '../../audit/index.ts';
import type { KeyClient, RepositoryStatus } from '../../keys/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../../lib/db.ts';
import { lockAppliance } from '../queries.ts';
import { registerOn, type KeyEvent } from './fold.ts';
import { insertKeyEvents, listKeyEvents } from './queries.ts';

export interface SettleDeps {
  db: Database;
  clock: Clock;
  keys: Pick<KeyClient, 'status'>;
}

/** At every start and once an hour. */
export async function settleKeyRegister(deps: SettleDeps): Promise<void> {
  await writeTransaction(deps.db, (tx) => settleIn(tx, deps));
}

/**
 * In the transaction of an act, after the keyring has changed. A generation that the register did not know goes into the audit log with it.
 *
 * @param rekeyed who re-keyed, and why; of one that is found afterwards nobody knows that any more.
 */
export async function settleIn(
  tx: WriteTransaction,
  deps: Omit<SettleDeps, 'db'>,
  rekeyed?: { actor: Actor; reason: string },
): Promise<void> {
  // One at a time: two would both find the same missing.
  await lockAppliance(tx);
  const { repository } = await deps.keys.status();
  const now = deps.clock.now();
  const missing = missingEvents(await listKeyEvents(tx), repository, now);
  await insertKeyEvents(tx, missing, now);
  for (const { kind, generations } of missing) {
    const [after] = generations ?? [];
    // The first one begins with the claim, which has an entry of its own.
    if (kind !== 'generation' || after === undefined || after === 1) continue;
    await recordAudit(tx, deps.clock, rekeyed?.actor ?? systemActor('key register'), {
      ...{ action: 'appliance.repository.rekeyed', objectType: 'repository', objectId: null },
      detail: {
        ...{ before: after - 1, after, kits: repository.kits.map((kit) => kit.id) },
        ...(rekeyed === undefined ? { foundAfterwards: true } : { reason: rekeyed.reason }),
      },
    });
  }
}

/** Pure. In an order in which they may have happened. */
export function missingEvents(
  known: readonly KeyEvent[],
  repository: RepositoryStatus,
  now: Date,
): KeyEvent[] {
  if (!repository.claimed) return [];
  // The clock of the day, or whatever was said later by a clock that was ahead.
  const last = known.reduce((latest, event) => (event.at > latest ? event.at : latest), now);
  const state = registerOn(known, last);
  const present = new Map(state.kits.map((kit) => [kit.id, kit]));
  const missing: KeyEvent[] = [];
  const fresh = repository.generations.filter(
    ({ generation }) => !state.generations.some((one) => one.generation === generation),
  );
  for (const kit of repository.kits) {
    const before = present.get(kit.id);
    if (before?.state === 'proven') continue;
    // One that was retired and counts again comes from a keyring that was recovered.
    const at = before?.state === 'retired' ? now : new Date(kit.addedAt);
    const generations = repository.generations.filter((one) => new Date(one.createdAt) <= at);
    missing.push({ kind: 'added', at, kitId: kit.id, generations: generations.map((one) => one.generation) });
  }
  for (const kit of repository.retiredKits) {
    const before = present.get(kit.id);
    if (before === undefined || before.state === 'retired') continue;
    // By a clock that went back it may have been retired before it was added.
    const at = known
      .filter((event) => event.kitId === kit.id)
      .reduce((latest, event) => (event.at > latest ? event.at : latest), new Date(kit.retiredAt));
    missing.push({ kind: 'retired', at, kitId: kit.id, generations: null });
  }
  const gone = state.kits.filter(
    (kit) =>
      kit.state === 'proven' &&
      ![...repository.kits, ...repository.retiredKits].some((one) => one.id === kit.id),
  );
  for (const kit of gone) missing.push({ kind: 'retired', at: now, kitId: kit.id, generations: null });
  for (const { generation, createdAt } of fresh) {
    missing.push({ kind: 'generation', at: new Date(createdAt), kitId: null, generations: [generation] });
  }
  const { kept } = registerOn(known, new Date(last.getTime() + 86_400_000)).testIdentity;
  if (!repository.writeOnly && !kept) {
    const [first] = repository.generations;
    const at = state.generations.length === 0 && first !== undefined ? new Date(first.createdAt) : now;
    const opened = repository.generations.filter((one) => new Date(one.createdAt) <= at);
    const generations = opened.map((one) => one.generation);
    missing.push({ kind: 'identity-on', at, kitId: null, generations });
  }
  if (repository.writeOnly && kept) {
    missing.push({ kind: 'identity-off', at: now, kitId: null, generations: null });
  }
  return missing;
}
