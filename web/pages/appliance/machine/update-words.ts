/** How an update reads: its states, its steps, and what may be done with it now. */
import type { RestartWhen, Update } from '../../../api/host.ts';
import { plural } from '../../../lib/format.ts';
import type { StateLook } from '../../../lib/states.ts';

type State = Update['state'];

export const UPDATE_LOOKS: Record<State, StateLook> = {
  rehearsing: { tone: 'info', label: 'Rehearsal' },
  snapshot: { tone: 'info', label: 'Safety snapshot' },
  installing: { tone: 'info', label: 'Installing' },
  ready: { tone: 'info', label: 'Waits for restart' },
  rebooting: { tone: 'info', label: 'Restarting' },
  confirmed: { tone: 'ok', label: 'Came through' },
  'fell-back': { tone: 'bad', label: 'Fell back' },
  refused: { tone: 'warn', label: 'Refused' },
  failed: { tone: 'bad', label: 'Failed' },
  cancelled: { tone: 'neutral', label: 'Cancelled' },
};

export const RESTARTS: readonly { value: RestartWhen; label: string; text: string }[] = [
  { value: 'now', label: 'At once', text: 'The machine restarts as soon as it is installed.' },
  {
    value: 'window',
    label: 'In the maintenance window',
    text: 'By itself, at the next time that is allowed.',
  },
  { value: 'manual', label: 'When somebody says so', text: 'It waits, ready, until a person restarts it.' },
];

const ORDER: readonly State[] = ['rehearsing', 'snapshot', 'installing', 'ready', 'rebooting'];
const LABELS: Partial<Record<State, string>> = {
  rehearsing: 'Rehearse: the newest snapshot is restored, and the new version migrates it',
  snapshot: 'Take a safety snapshot',
  installing: 'Install into the other slot',
  ready: 'Wait for the restart',
  rebooting: 'Restart, and see whether the new version is healthy',
};

interface Step {
  id: string;
  label: string;
  state: string;
  durationMs?: number | undefined;
  note?: string | undefined;
}

/** Every step with how far it is. */
export function stepsOf(update: Update): Step[] {
  const order = update.kind === 'way-back' ? ORDER.slice(3) : ORDER;
  const at = reached(update);
  return order.map((state) => {
    const place = ORDER.indexOf(state);
    return {
      id: state,
      label:
        update.kind === 'way-back' && state === 'rebooting'
          ? 'Restart into the other slot, and see whether it is healthy'
          : (LABELS[state] ?? state),
      state: stateOfStep(update, state, place, at),
      ...noteOf(update, state),
    };
  });
}

/** Place of the step that it is in, or that it ended in. */
function reached(update: Update): number {
  const open = ORDER.indexOf(update.state);
  if (open >= 0) return open;
  if (update.state === 'confirmed') return ORDER.length;
  if (update.state === 'fell-back' || update.rebootedFrom !== null) return ORDER.indexOf('rebooting');
  if (update.state === 'cancelled' && update.progress === 100) return ORDER.indexOf('ready');
  if (update.installAttempts > 0) return ORDER.indexOf('installing');
  return update.rehearsal === null ? 0 : 1;
}

function stateOfStep(update: Update, state: State, place: number, at: number): string {
  if (update.skipReason !== null && (state === 'rehearsing' || state === 'snapshot')) return 'skipped';
  if (place < at) return 'succeeded';
  if (place > at) return 'waiting';
  if (update.endedAt === null) return 'running';
  return update.state === 'cancelled' ? 'cancelled' : 'failed';
}

function noteOf(update: Update, state: State): Pick<Step, 'durationMs' | 'note'> {
  const { rehearsal } = update;
  if (state === 'rehearsing' && rehearsal !== null) {
    const migrations = plural(rehearsal.applied.length, 'migration');
    return {
      durationMs: rehearsal.durationMs,
      note: `${migrations} on ${plural(rehearsal.tables, 'table')}; ${rehearsal.rowsBefore} rows before, ${rehearsal.rowsAfter} after`,
    };
  }
  if (state === 'installing' && update.state === 'installing')
    return { note: `${update.progress} % written to slot ${update.toSlot}` };
  return {};
}

export function whyNotCancel(update: Update, administrator: boolean): string | undefined {
  if (!administrator) return 'An administrator does this';
  if (update.state === 'installing') return 'It is being written: cancel it before its restart';
  return update.state === 'rebooting' ? 'The machine is restarting' : undefined;
}
