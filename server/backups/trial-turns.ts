/**
 * How often one person may have a server outside tried: enough to find out what is wrong with it, too little to search a network by. In
 * memory, for each database of the process, as only one process answers people.
 */
import type { Actor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';

export const TRIAL_TURNS = { most: 30, windowMs: 10 * 60_000 } as const;

const kept = new WeakMap<Database, Map<string, { sinceMs: number; count: number }>>();

/** @throws HoldfastError `too_many_requests`. Whoever sits at the machine is not held up. */
export function takeTrialTurn(deps: { db: Database; clock: Clock }, actor: Actor): void {
  if (actor.kind !== 'user' || actor.id === undefined) return;
  const people = kept.get(deps.db) ?? new Map<string, { sinceMs: number; count: number }>();
  kept.set(deps.db, people);
  const now = deps.clock.monotonicMs();
  for (const [id, { sinceMs }] of people) if (now - sinceMs >= TRIAL_TURNS.windowMs) people.delete(id);
  const own = people.get(actor.id) ?? { sinceMs: now, count: 0 };
  if (own.count >= TRIAL_TURNS.most) {
    const seconds = Math.ceil((own.sinceMs + TRIAL_TURNS.windowMs - now) / 1000);
    throw new HoldfastError('too_many_requests', 'You tried targets too often', {
      hint: `Try again in ${String(seconds)} s.`,
    });
  }
  people.set(actor.id, { ...own, count: own.count + 1 });
}
