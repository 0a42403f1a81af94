/** Which state of an update may follow which, as a table. Pure. */
import { HoldfastError } from '../../../lib/errors.ts';
import type { Update, UpdateState } from './schema.ts';

const FOLLOWS: Record<UpdateState, readonly UpdateState[]> = {
  rehearsing: ['snapshot', 'refused', 'cancelled'],
  snapshot: ['installing', 'refused', 'cancelled'],
  installing: ['ready', 'failed', 'confirmed', 'fell-back'],
  ready: ['rebooting', 'cancelled', 'confirmed', 'fell-back', 'failed'],
  rebooting: ['confirmed', 'fell-back', 'failed'],
  confirmed: [],
  'fell-back': [],
  refused: [],
  failed: [],
  cancelled: [],
};

/** True when nothing more will come of it. */
export function isFinal(state: UpdateState): boolean {
  return FOLLOWS[state].length === 0;
}

/** @throws HoldfastError `wrong_state` when `to` cannot follow. */
export function follow(update: Update, to: UpdateState, change: Partial<Update>, at: Date): Update {
  if (!FOLLOWS[update.state].includes(to)) {
    throw new HoldfastError('wrong_state', `This update is ${update.state}; it cannot become ${to}`, {
      hint: 'Look at the history of updates: another act came first.',
    });
  }
  return { ...update, ...change, state: to, ...(isFinal(to) ? { endedAt: at.toISOString() } : {}) };
}
