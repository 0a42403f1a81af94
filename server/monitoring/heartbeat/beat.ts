/**
 * Says outside, after each good look, that this appliance lives and how it is: whoever waits for the call tells people when it stays away.
 * Guarantees: no call without a look that was made; of two servers one calls; in quarantine nobody is called, since a copy that calls in
 * the place of the original would hide that the original is dead.
 */
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { callOut, type CallResult } from '../outgoing/call-out.ts';
import { openPart, type SealDeps } from '../outgoing/secret-address.ts';
import { listOpenProblems, lockHeartbeat, updateHeartbeat, type HeartbeatRow } from './heartbeat-queries.ts';

export interface BeatDeps extends SealDeps {
  db: Database;
  clock: Clock;
  log: Logger;
  /** True while this appliance may be a copy of another one. */
  isHeld(): Promise<boolean>;
}

type HeartbeatState = 'up' | 'down';

/** The minute's look comes some seconds earlier or later. */
const EARLY_MS = 20_000;
export const HEARTBEAT_ID = 'heartbeat';
const PLACES = /%7Bstatus%7D|\{status\}/i;

/** @param now called by a person: whether it is due or not. @returns whether a call was made. */
export async function beat(deps: BeatDeps, options: { now?: boolean } = {}): Promise<boolean> {
  if (await deps.isHeld()) return false;
  const problems = await listOpenProblems(deps.db);
  const state: HeartbeatState = problems.length === 0 ? 'up' : 'down';
  const row = await takeTurn(deps, state, options.now === true);
  if (row === undefined) return false;
  const result = await call(deps, row, state, problems);
  if (result === undefined) {
    // Silence is what says it. When all is well again it is called at once.
    await writeTransaction(deps.db, (tx) =>
      updateHeartbeat(tx, row.changed_at, { called_at: row.called_at }),
    );
    return false;
  }
  const { good, status, message, hint, tookMs } = result;
  const now = deps.clock.now();
  await writeTransaction(deps.db, (tx) =>
    updateHeartbeat(tx, row.changed_at, {
      answer: JSON.stringify({ status, message, hint, tookMs }),
      ...(good
        ? { answered_at: now, told_state: state, failing_since: null }
        : { failing_since: row.failing_since ?? now }),
    }),
  );
  if (!good)
    deps.log.warn({ status: result.status, ms: result.tookMs }, 'The heartbeat was not answered well');
  return true;
}

/** Notes that it is called now, before it is: another server that looks then finds nothing due. */
async function takeTurn(
  deps: BeatDeps,
  state: HeartbeatState,
  asked: boolean,
): Promise<HeartbeatRow | undefined> {
  return writeTransaction(deps.db, async (tx) => {
    const row = await lockHeartbeat(tx);
    if (row === undefined || (row.paused && !asked)) return undefined;
    const now = deps.clock.now();
    if (!asked && !isDue(row, state, now)) return undefined;
    await updateHeartbeat(tx, row.changed_at, { called_at: now });
    return row;
  });
}

/** When its time has come, when it has something else to say, and a minute after a call that failed. */
export function isDue(row: HeartbeatRow, state: HeartbeatState, now: Date): boolean {
  if (row.called_at === null) return true;
  const sinceMs = Math.abs(now.getTime() - row.called_at.getTime());
  const failed = row.failing_since !== null;
  const changed = row.told_state !== null && row.told_state !== state;
  return sinceMs >= (failed || changed ? 1 : row.every_minutes) * 60_000 - EARLY_MS;
}

/** @returns undefined when it is bad and only silence can say so. */
async function call(
  deps: BeatDeps,
  row: HeartbeatRow,
  state: HeartbeatState,
  problems: readonly string[],
): Promise<CallResult | undefined> {
  try {
    const message = state === 'up' ? 'OK' : `Needs somebody: ${problems.join(', ')}`.slice(0, 200);
    const own = await openPart(deps, 'heartbeat-url', HEARTBEAT_ID, row.url_sealed);
    const failing = state === 'down' ? row.failure_url_sealed : null;
    if (state === 'down' && failing === null && !PLACES.test(own)) return undefined;
    const address =
      failing === null ? own : await openPart(deps, 'heartbeat-failure-url', HEARTBEAT_ID, failing);
    const post = row.method === 'POST';
    return await callOut({
      url: fill(address, state, message),
      method: post ? 'POST' : 'GET',
      allowHttp: row.allow_http,
      ...(post
        ? {
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ status: state, message, at: deps.clock.now().toISOString() }),
          }
        : {}),
    });
  } catch (error) {
    deps.log.error({ err: error }, 'The heartbeat could not be made');
    const known = error instanceof HoldfastError ? error : undefined;
    const message = known?.message ?? 'It could not be made; the log of the appliance says why';
    return { good: false, status: null, message, hint: known?.hint ?? null, tookMs: 0, retryAfterMs: null };
  }
}

/** Whether an address takes the state itself. */
export function takesState(address: string): boolean {
  return PLACES.test(address);
}

function fill(address: string, state: HeartbeatState, message: string): URL {
  const filled = address
    .replaceAll(/%7Bstatus%7D|\{status\}/gi, state)
    .replaceAll(/%7Bmessage%7D|\{message\}/gi, encodeURIComponent(message));
  return new URL(filled);
}
