/**
 * Taking ownership. Guarantees: one claim ever succeeds; the owner, the first workspace, the session and the audit entry
 * come in one transaction; what keyd made before it is found again when the claim is repeated after a crash.
 */
import { recordAudit, systemActor, type Actor } from '../audit/index.ts';
import {
  clearAttempts,
  countAttempt,
  insertPerson,
  openSession,
  preparePerson,
  throttleBucket,
  type OpenedSession,
  type PasswordDeps,
  type PeopleDeps,
} from '../identity/index.ts';
import type { KeyClient } from '../keys/index.ts';
import type { Config } from '../lib/config.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../lib/db.ts';
import type { Clock } from '../lib/clock.ts';
import { HoldfastError } from '../lib/errors.ts';
import { insertWorkspace, prepareWorkspace, type WorkspaceDeps } from '../workspaces/index.ts';
import { showClaimCode } from './claim-code-file.ts';
import { CLAIM_CODE_LIFETIME_MS, claimCodeHash, isClaimCode, newClaimCode } from './claim-code.ts';
import {
  countClaimFailure,
  getAppliance,
  insertAppliance,
  lockAppliance,
  updateAppliance,
  type ApplianceRow,
} from './queries.ts';
import type { ClaimRequest } from './schema.ts';

export interface ClaimDeps extends PasswordDeps, WorkspaceDeps {
  config: Pick<Config, 'claimCodeFile'>;
  keys: WorkspaceDeps['keys'] & PeopleDeps['keys'] & Pick<KeyClient, 'prepareRepository'>;
  sealer: WorkspaceDeps['sealer'] & PeopleDeps['sealer'];
}

const FIRST_WORKSPACE = 'Main';

/**
 * Writes the appliance's own row at its first start. Called at every start.
 *
 * @throws HoldfastError `wrong_state` when the database belongs to another data folder.
 */
export async function registerAppliance(
  deps: { db: Database; clock: Clock },
  applianceId: string,
): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    if (await insertAppliance(tx, applianceId, deps.clock.now())) {
      await recordAudit(tx, deps.clock, systemActor('start'), {
        action: 'appliance.data.created',
        objectType: 'appliance',
        objectId: applianceId,
      });
      return;
    }
    const row = await getAppliance(tx);
    if (row.id === applianceId) return;
    throw new HoldfastError('wrong_state', 'This database belongs to another data folder', {
      hint: 'Check HOLDFAST_DATA and HOLDFAST_DATABASE_URL. Nothing was changed.',
      detail: `folder ${applianceId}, database ${row.id}`,
    });
  });
}

/** Whether the appliance has an owner. */
export async function isClaimed(db: Database): Promise<boolean> {
  return (await getAppliance(db)).claimed_at !== null;
}

/**
 * Makes a new claim code; an earlier one stops working.
 *
 * @returns the code, to be shown on the console and nowhere else; undefined when the appliance has an owner.
 */
export async function renewClaimCode(
  deps: { db: Database; clock: Clock; config: Pick<Config, 'claimCodeFile'> },
  actor: Actor,
): Promise<{ code: string; expiresAt: string } | undefined> {
  const code = newClaimCode();
  const expiresAt = new Date(deps.clock.now().getTime() + CLAIM_CODE_LIFETIME_MS);
  const renewed = await writeTransaction(deps.db, async (tx) => {
    const row = await lockAppliance(tx);
    if (row.claimed_at !== null) return undefined;
    await updateAppliance(tx, {
      claim_code_hash: claimCodeHash(code),
      claim_code_expires_at: expiresAt,
      claim_failures: 0,
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'appliance.claim-code.renewed',
      objectType: 'appliance',
      objectId: row.id,
      detail: { expiresAt: expiresAt.toISOString() },
    });
    return { code, expiresAt: expiresAt.toISOString() };
  });
  await showClaimCode(deps.config, renewed);
  return renewed;
}

/**
 * Makes the first person the owner and signs them in.
 *
 * @throws HoldfastError `wrong_state` when there is an owner, `forbidden` for a wrong or expired code, `too_many_requests`
 * after repeated wrong codes from one address, `invalid_input` for an unfit password.
 */
export async function claimAppliance(
  deps: ClaimDeps,
  request: ClaimRequest,
  actor: Actor,
  userAgent: string | undefined,
): Promise<OpenedSession> {
  const present = await getAppliance(deps.db);
  refuseSecondClaim(present);
  const bucket = throttleBucket('claim', Buffer.from(present.id), actor.address);
  await countAttempt(deps, bucket);
  await requireCode(deps, present, request.code, actor);
  const opened = await createOwner(deps, request.owner, actor, present.claim_code_hash, (tx, userId) =>
    openSession(tx, deps, { id: userId, role: 'owner' }, actor, { userAgent, methods: ['password'] }),
  );
  await clearAttempts(deps, bucket);
  return opened;
}

/**
 * Tells whether a claim code is right, without using it up; counted and audited as a claim is, so that guessing here gains
 * nothing.
 *
 * @throws HoldfastError as `claimAppliance` does for the code.
 */
export async function checkClaimCode(deps: ClaimDeps, typed: string, actor: Actor): Promise<void> {
  const present = await getAppliance(deps.db);
  refuseSecondClaim(present);
  const bucket = throttleBucket('claim', Buffer.from(present.id), actor.address);
  await countAttempt(deps, bucket);
  await requireCode(deps, present, typed, actor);
  await clearAttempts(deps, bucket);
}

/** As `claimAppliance` for somebody at the console, where the code is shown: set-up by file. */
export async function claimAtConsole(
  deps: ClaimDeps,
  owner: ClaimRequest['owner'],
  actor: Actor,
): Promise<{ userId: string }> {
  const present = await getAppliance(deps.db);
  refuseSecondClaim(present);
  return createOwner(deps, owner, actor, present.claim_code_hash, async (_tx, userId) => ({ userId }));
}

/** @param finish what else belongs into the transaction. */
async function createOwner<T>(
  deps: ClaimDeps,
  owner: ClaimRequest['owner'],
  actor: Actor,
  codeHash: Buffer | null,
  finish: (tx: WriteTransaction, userId: string) => Promise<T>,
): Promise<T> {
  const person = await preparePerson(deps, { ...owner, role: 'owner' });
  await deps.keys.prepareRepository();
  crashPoint('appliance.claim.keyed');
  const workspace = await prepareWorkspace(deps, { name: FIRST_WORKSPACE });
  const result = await writeTransaction(deps.db, async (tx) => {
    const row = await lockAppliance(tx);
    refuseSecondClaim(row);
    if (!sameBytes(row.claim_code_hash, codeHash)) throw wrongCode();
    const claimer: Actor = actor.kind === 'user' ? { ...actor, id: person.userId } : actor;
    await insertPerson(tx, deps, person, claimer);
    await insertWorkspace(tx, deps, workspace, { userId: person.userId, role: 'manager' }, claimer);
    await updateAppliance(tx, {
      claimed_at: deps.clock.now(),
      claim_code_hash: null,
      claim_code_expires_at: null,
    });
    await recordAudit(tx, deps.clock, claimer, {
      action: 'appliance.ownership.claimed',
      objectType: 'appliance',
      objectId: row.id,
      detail: { ownerId: person.userId },
    });
    return finish(tx, person.userId);
  });
  crashPoint('appliance.claim.committed');
  await showClaimCode(deps.config, undefined);
  return result;
}

async function requireCode(deps: ClaimDeps, row: ApplianceRow, typed: string, actor: Actor): Promise<void> {
  const { claim_code_hash: hash, claim_code_expires_at: expiresAt } = row;
  const right =
    hash !== null && isClaimCode(typed, hash) && expiresAt !== null && expiresAt > deps.clock.now();
  if (right) return;
  await writeTransaction(deps.db, async (tx) => {
    await countClaimFailure(tx);
    await recordAudit(tx, deps.clock, actor, {
      action: 'appliance.claim.refused',
      objectType: 'appliance',
      objectId: row.id,
      result: 'refused',
    });
  });
  throw wrongCode();
}

function refuseSecondClaim(row: ApplianceRow): void {
  if (row.claimed_at === null) return;
  throw new HoldfastError('wrong_state', 'This appliance has an owner already', {
    hint: 'Sign in. A sole owner who lost the password gets back in at the console: holdfast recover-owner.',
  });
}

function wrongCode(): HoldfastError {
  return new HoldfastError('forbidden', 'The claim code is wrong or has expired', {
    hint: 'It is shown on the console of the appliance; `holdfast claim-code` there makes a new one.',
  });
}

function sameBytes(left: Buffer | null, right: Buffer | null): boolean {
  return left === null || right === null ? left === right : left.equals(right);
}
