/**
 * How much mail somebody can make us send who only types an address. One network may ask twenty times an hour, and is told when it is
 * too often. To one account go at most five links of a kind a day, three of them asked for from the same network, and nobody is told
 * that: the answer would say who is here. Networks from which the person signed in before have three of their own, which a stranger
 * cannot use up; so nobody is kept from a link, and nobody gets more than eight.
 */
import type { Clock } from '../../lib/clock.ts';
import type { WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { lockFailures, updateFailures } from '../sign-in/queries.ts';
import { throttleBucket } from '../sign-in/sign-in-throttle.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NETWORK_AN_HOUR = 20;
const ACCOUNT_A_DAY = 5;
const PAIR_A_DAY = 3;
const KNOWN_A_DAY = 3;

interface Asking {
  kind: string;
  /** What the account is looked up by. */
  key: Buffer;
  address: string | undefined;
}

/** @throws HoldfastError `too_many_requests` */
export async function takeNetworkTurn(
  tx: WriteTransaction,
  clock: Clock,
  address: string | undefined,
): Promise<void> {
  const bucket = throttleBucket('mail-link network', Buffer.alloc(0), address);
  if (await takeOne(tx, clock, bucket, { limit: NETWORK_AN_HOUR, windowMs: HOUR_MS })) return;
  throw new HoldfastError('too_many_requests', 'Too many links were asked for from your network', {
    hint: 'Try again in an hour.',
  });
}

/** @param known the person signed in from there before. @returns whether one more may go out. */
export async function takeAccountTurn(
  tx: WriteTransaction,
  clock: Clock,
  { kind, key, address }: Asking,
  known: boolean,
): Promise<boolean> {
  const own = throttleBucket(`mail-link ${kind} known`, key, undefined);
  if (known && (await takeOne(tx, clock, own, { limit: KNOWN_A_DAY, windowMs: DAY_MS }))) return true;
  const pair = throttleBucket(`mail-link ${kind} pair`, key, address);
  if (!(await takeOne(tx, clock, pair, { limit: PAIR_A_DAY, windowMs: DAY_MS }))) return false;
  const account = throttleBucket(`mail-link ${kind} account`, key, undefined);
  return takeOne(tx, clock, account, { limit: ACCOUNT_A_DAY, windowMs: DAY_MS });
}

async function takeOne(
  tx: WriteTransaction,
  clock: Clock,
  bucket: string,
  { limit, windowMs }: { limit: number; windowMs: number },
): Promise<boolean> {
  const now = clock.now();
  const row = await lockFailures(tx, bucket, now);
  const age = now.getTime() - row.first_at.getTime();
  const present = age > windowMs || age < 0 ? { ...row, failures: 0, first_at: now } : row;
  if (present.failures >= limit) return false;
  await updateFailures(tx, { ...present, failures: present.failures + 1, last_at: now });
  return true;
}
