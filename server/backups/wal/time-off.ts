/**
 * Time in which the database was off. It commits nothing then, so nothing more is at risk, and being behind does not grow: what counts is
 * the time from the last shipped commit to the crash, and from the next start on.
 *
 * Guarantees: no instant counts as off at which shipping looked, somebody acted, or PostgreSQL has run since. So a shipping process that
 * had ended while the database went on takes nothing away.
 */
import type { ClientBase } from 'pg';
import { findLastActAt } from '../../audit/index.ts';
import type { Database } from '../../lib/db.ts';
import { readStartedAt } from '../../lib/postgres/index.ts';
import type { ShipState, TimeOff } from './ship-state.ts';

/** Of it nothing is known, after each look that was told. */
const LOOKS_TOLD_EVERY_MS = 30_000;

/** Notes the time before PostgreSQL was started when that is news: once, when shipping starts. */
export async function noteTimeOff(
  deps: { db: Database; state: ShipState },
  client: ClientBase,
): Promise<void> {
  const looks = [...deps.state.reports().values()].map(({ lookedAt }) => Date.parse(lookedAt));
  const lookedMs = Math.max(...looks);
  if (looks.length === 0) return;
  const startedAt = await readStartedAt(client);
  const actedAt = await findLastActAt(deps.db, startedAt);
  const off = offBefore(startedAt.getTime(), lookedMs, actedAt?.getTime());
  if (off !== undefined) deps.state.noteOff(off);
}

/** Pure. @returns undefined when it was on all the time, as far as is known */
export function offBefore(startedMs: number, lookedMs: number, actedMs = 0): TimeOff | undefined {
  const fromMs = Math.max(lookedMs + LOOKS_TOLD_EVERY_MS, actedMs);
  return fromMs < startedMs ? { fromMs, toMs: startedMs } : undefined;
}

/** How long it was on between two instants; 0 when the second is the earlier one. Pure. */
export function onTimeMs(offs: readonly TimeOff[], since: Date, until: Date): number {
  const [from, to] = [since.getTime(), until.getTime()];
  const off = offs.reduce(
    (sum, one) => sum + Math.max(0, Math.min(one.toMs, to) - Math.max(one.fromMs, from)),
    0,
  );
  return Math.max(0, to - from - off);
}
