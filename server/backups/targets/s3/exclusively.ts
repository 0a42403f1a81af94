/**
 * Creating a name so that of several who want it exactly one gets it.
 *
 * Where the server has conditional writes (`If-None-Match: *`), it decides. A server that does not know them takes the header and
 * overwrites, so it is found out first, on an object that may be written again as it is. Without them those who want a name announce
 * themselves beside it, each under a name of its own, and look who else is there: who sees nobody goes on; who sees another withdraws,
 * but for the one whose announcement sorts first, which waits until the others are through. That rests on a listing that shows what
 * was written before it (as S3 itself and every server that we know does).
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../../lib/clock.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import { TEMPORARY_PREFIX } from '../../../lib/files.ts';
import type { S3Client } from './client.ts';
import { S3Refusal } from './failures.ts';

/** An announcement that is older than this was left by somebody who was killed; nobody takes that long. */
const LEFT_BEHIND_MS = 15 * 60_000;
const LOOK_AGAIN_MS = 150;
const NOT_KNOWN = new Set([400, 405, 501]);

/** What this needs of the target. */
export interface Shelf {
  client: S3Client;
  /** The prefix with its `/`, or empty. */
  top: string;
  put(key: string, data: Uint8Array, headers: Record<string, string>): Promise<void>;
  exists(key: string): Promise<boolean>;
  list(prefix: string): AsyncIterable<{ key: string; modifiedAt: Date | undefined }>;
  remove(key: string): Promise<void>;
  rivalsMs: number;
}

export const ONCE = { 'If-None-Match': '*' };

/** True for the answer to a conditional write of a taken name. */
export function isTaken(error: unknown): boolean {
  return error instanceof S3Refusal && error.status === 412;
}

/** @param sample an object that is there and that may be written again as it is; else one is made and removed. */
export async function hasConditionalWrites(
  shelf: Shelf,
  sample: { key: string; data: Uint8Array } | undefined,
): Promise<boolean> {
  const key = sample?.key ?? `${shelf.top}${TEMPORARY_PREFIX}${randomBytes(8).toString('hex')}-once`;
  const data = sample?.data ?? Buffer.from('may be removed\n');
  try {
    if (sample === undefined) await shelf.put(key, data, {});
    await shelf.put(key, data, ONCE);
    return false;
  } catch (error) {
    if (isTaken(error)) return true;
    if (error instanceof S3Refusal && NOT_KNOWN.has(error.status)) return false;
    throw error;
  } finally {
    if (sample === undefined) await shelf.remove(key);
  }
}

/** @returns false when another has it. @throws HoldfastError `unavailable` when others stay in the way. */
export async function createAmongRivals(shelf: Shelf, key: string, data: Uint8Array): Promise<boolean> {
  const place = `${shelf.top}${TEMPORARY_PREFIX}want-${key.slice(shelf.top.length).replaceAll('/', '-')}-`;
  const mine = `${place}${randomBytes(12).toString('hex')}`;
  const startedAt = systemClock.monotonicMs();
  await shelf.put(mine, Buffer.from('wanted\n'), {});
  try {
    for (;;) {
      if (await shelf.exists(key)) return false;
      const others = await rivals(shelf, place, mine);
      // Long before somebody could take our announcement for one that was left behind.
      if (systemClock.monotonicMs() - startedAt > shelf.rivalsMs) throw crowded(key);
      if (others.length === 0) {
        // Between the first look at the name and the last at the others, one of them may have got it and gone.
        if (await shelf.exists(key)) return false;
        await shelf.put(key, data, {});
        return true;
      }
      if (others.some((other) => other < mine)) return false;
      await sleep(LOOK_AGAIN_MS * (0.5 + Math.random()));
    }
  } finally {
    await shelf.remove(mine);
  }
}

async function rivals(shelf: Shelf, place: string, mine: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { key, modifiedAt } of shelf.list(place)) {
    if (key === mine) continue;
    const now = shelf.client.serverDate();
    const left =
      now !== undefined && modifiedAt !== undefined && now.getTime() - modifiedAt.getTime() > LEFT_BEHIND_MS;
    if (!left) found.push(key);
  }
  return found;
}

function crowded(key: string): HoldfastError {
  return new HoldfastError('unavailable', 'Others want to create the same object and do not finish', {
    hint: 'See that no second appliance works on this repository, then try again in a quarter of an hour.',
    detail: key,
  });
}
