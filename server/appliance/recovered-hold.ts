/**
 * An appliance that was recovered may not be what was wanted: until an owner has looked at it and let it go on, it keeps everybody else out,
 * so that nobody works on a state that is thrown away.
 */
import type { FastifyInstance } from 'fastify';
import { readQuarantine } from '../backups/index.ts';
import { hasRight } from '../identity/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';

/** So old may be what a request is decided by. */
const FRESH_MS = 1_000;

/** After the guard, which says who asks. What belongs to the own account alone stays open: signing out, for example. */
export function installRecoveredHold(app: FastifyInstance, deps: { db: Database; clock: Clock }): void {
  let looked: { atMs: number; held: Promise<boolean> } | undefined;
  const isHeld = (): Promise<boolean> => {
    const nowMs = deps.clock.monotonicMs();
    if (looked === undefined || nowMs - looked.atMs > FRESH_MS) {
      const held = readQuarantine(deps.db).then((found) => found !== undefined && found.kind !== 'copy');
      held.catch(() => (looked = undefined));
      looked = { atMs: nowMs, held };
    }
    return looked.held;
  };
  app.addHook('onRequest', async ({ signedIn, routeOptions }) => {
    const { access } = routeOptions.config;
    if (signedIn === undefined || typeof access !== 'object' || access.right === 'account.own') return;
    if (hasRight(signedIn.role, 'recovery.manage') || !(await isHeld())) return;
    throw new HoldfastError('wrong_state', 'This appliance was recovered and waits for its owner', {
      hint: 'An owner looks whether it is the state that was wanted. Until then nobody else works with it.',
    });
  });
}
