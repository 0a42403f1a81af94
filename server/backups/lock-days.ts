/**
 * For how long what is written to a target is locked: so many days, or as long as its policy promises to keep snapshots. Read when the
 * target is opened, and again when locks are renewed. What is locked already is never locked for less.
 */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { ObjectLock } from './engine.ts';
import { lockTarget, updateTarget, type TargetRow } from './queries.ts';
import { findRetention, policyOf } from './retention-queries.ts';
import type { RetentionPolicy } from './retention/policy.ts';
import { KEEP_EVERYTHING, promisedDays } from './retention/policy-words.ts';
import type { LockChange } from './schema.ts';

type LockedRow = Pick<TargetRow, 'id' | 'kind' | 'settings'>;

/** Of a request or a row, under a policy. */
export function lockUnder(lock: ObjectLock, policy: RetentionPolicy = KEEP_EVERYTHING): ObjectLock {
  return lock.followsPolicy === true ? { ...lock, days: promisedDays(policy) } : lock;
}

/** As it holds now: the policy may have been changed since the row was read. Undefined where nothing is locked. */
export async function findLock(db: Database, row: LockedRow): Promise<ObjectLock | undefined> {
  const lock = keptLock(row);
  return lock === undefined ? undefined : lockUnder(lock, await findPolicy(db, row.id));
}

/** As people are shown it, with what the policy of now promises. */
export async function describeLock(db: Database, row: LockedRow) {
  const kept = keptLock(row);
  if (kept === undefined) return null;
  const policy = await findPolicy(db, row.id);
  const { mode, days, followsPolicy = false } = lockUnder(kept, policy);
  return { mode, days, followsPolicy, policyDays: promisedDays(policy) };
}

/**
 * Longer: what is there is locked for as long from the next snapshot on. Shorter: only what is stored from then on.
 *
 * @throws HoldfastError `wrong_state` for a target that is retired or locks nothing.
 */
export async function changeLock(
  deps: { db: Database; clock: Clock },
  actor: Actor,
  id: string,
  change: LockChange,
): Promise<TargetRow> {
  return writeTransaction(deps.db, async (tx) => {
    const row = await lockTarget(tx, id);
    if (row.state !== 'active') throw new HoldfastError('wrong_state', 'This target is retired');
    const kept = keptLock(row);
    if (kept === undefined) {
      throw new HoldfastError('wrong_state', 'This target locks nothing', {
        hint: 'A lock is chosen when an S3 target is added. Retire it and add it again with one: the repository stays.',
      });
    }
    const policy = await findPolicy(tx, id);
    const before = lockUnder(kept, policy);
    const { mode } = before;
    const asked = 'days' in change ? { mode, days: change.days } : { mode, days: 1, followsPolicy: true };
    const after = lockUnder(asked, policy);
    const changed = await updateTarget(tx, id, { settings: { lock: after } });
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.target.lock-changed',
      objectType: 'target',
      objectId: id,
      detail: { before, after },
    });
    return changed;
  });
}

function keptLock({ kind, settings }: LockedRow): ObjectLock | undefined {
  return kind === 's3' ? (settings as { lock?: ObjectLock }).lock : undefined;
}

async function findPolicy(db: Database, targetId: string): Promise<RetentionPolicy> {
  return policyOf(await findRetention(db, targetId));
}
