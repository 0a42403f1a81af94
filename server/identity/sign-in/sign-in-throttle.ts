/**
 * Slows down guessing. Failures are counted for a pair of account and address, so that a stranger who guesses cannot lock
 * the owner out: the owner comes from another address. An attempt is counted before the password is looked at, so that
 * many at once gain nothing.
 */
import { createHash } from 'node:crypto';
import { writeTransaction } from '../../lib/db.ts';
import { networkOf } from '../../lib/door/client-address.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { deleteFailures, deleteOldFailures, lockFailures, updateFailures } from './queries.ts';
import type { SessionDeps } from '../sessions/sessions.ts';

const FREE_ATTEMPTS = 5;
const FIRST_WAIT_MS = 2_000;
const LONGEST_WAIT_MS = 15 * 60_000;
const FORGET_AFTER_MS = 24 * 3_600_000;

/** A name for what is tried from where that tells neither: the table is in every backup. */
export function throttleBucket(kind: string, key: Uint8Array, address: string | undefined): string {
  return createHash('sha256')
    .update(`${kind}\0`)
    .update(key)
    .update(networkOf(address ?? ''))
    .digest('hex');
}

/**
 * Counts an attempt.
 *
 * @throws HoldfastError `too_many_requests`, without counting, while the wait after earlier failures lasts.
 */
export async function countAttempt(deps: SessionDeps, bucket: string): Promise<void> {
  const now = deps.clock.now();
  const waitMs = await writeTransaction(deps.db, async (tx) => {
    await deleteOldFailures(tx, new Date(now.getTime() - FORGET_AFTER_MS));
    const row = await lockFailures(tx, bucket, now);
    const wait = waitAfter(row.failures);
    // The free ones come as close together as they like: of two at once, either may have looked at the clock first.
    const remaining = wait === 0 ? 0 : row.last_at.getTime() + wait - now.getTime();
    if (remaining > 0) return remaining;
    await updateFailures(tx, { ...row, failures: row.failures + 1, last_at: now });
    return 0;
  });
  if (waitMs > 0) {
    throw new HoldfastError('too_many_requests', 'Too many failed attempts', {
      hint: `Try again in ${Math.ceil(waitMs / 1000)} s.`,
    });
  }
}

/** For an attempt of which nobody looked at the password: the queue was full, or something else was away. */
export async function takeAttemptBack(deps: SessionDeps, bucket: string): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const row = await lockFailures(tx, bucket, deps.clock.now());
    await updateFailures(tx, { ...row, failures: Math.max(0, row.failures - 1) });
  });
}

/** Counts failures of one account wherever they come from: many are told to its person. */
export function accountBucket(userId: string): string {
  return throttleBucket('account', Buffer.from(userId), undefined);
}

/** Forgets the failures of a pair after a success. */
export async function clearAttempts(deps: SessionDeps, bucket: string): Promise<void> {
  await writeTransaction(deps.db, (tx) => deleteFailures(tx, bucket));
}

/** Milliseconds to wait after so many failures: none for the first few, then doubling. */
export function waitAfter(failures: number): number {
  if (failures < FREE_ATTEMPTS) return 0;
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(20, failures - FREE_ATTEMPTS));
}
