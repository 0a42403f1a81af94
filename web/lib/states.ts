/** What a state is called and how it looks: always icon, word and colour together. */
export type Tone = 'ok' | 'info' | 'warn' | 'bad' | 'neutral';

export interface StateLook {
  tone: Tone;
  label: string;
}

const LOOKS: Record<string, StateLook> = {
  // Runs and steps
  queued: { tone: 'info', label: 'Queued' },
  waiting: { tone: 'neutral', label: 'Waiting' },
  running: { tone: 'info', label: 'Running' },
  succeeded: { tone: 'ok', label: 'Done' },
  partial: { tone: 'warn', label: 'Partial' },
  failed: { tone: 'bad', label: 'Failed' },
  cancelled: { tone: 'neutral', label: 'Cancelled' },
  passed: { tone: 'ok', label: 'Passed' },
  warned: { tone: 'warn', label: 'Missed' },
  skipped: { tone: 'neutral', label: 'Skipped' },
  // Assertions
  asked: { tone: 'ok', label: 'Asked' },
  off: { tone: 'neutral', label: 'Off' },
  // Snapshots and targets
  stored: { tone: 'info', label: 'Stored' },
  forgotten: { tone: 'neutral', label: 'Forgotten' },
  active: { tone: 'ok', label: 'Active' },
  retired: { tone: 'neutral', label: 'Retired' },
  'up-to-date': { tone: 'ok', label: 'Up to date' },
  away: { tone: 'bad', label: 'Not reached' },
  copying: { tone: 'info', label: 'Catching up' },
  empty: { tone: 'neutral', label: 'Nothing yet' },
  missing: { tone: 'warn', label: 'Missing' },
  // Shipping of the log
  on: { tone: 'ok', label: 'On' },
  shipping: { tone: 'ok', label: 'Shipping' },
  stopped: { tone: 'bad', label: 'Stopped' },
  silent: { tone: 'bad', label: 'Not heard of' },
  // Retention
  held: { tone: 'warn', label: 'Under legal hold' },
  stays: { tone: 'ok', label: 'Stays' },
  goes: { tone: 'bad', label: 'Goes' },
  reduced: { tone: 'neutral', label: 'Reduced' },
  reduces: { tone: 'bad', label: 'Is reduced' },
  'loses-logs': { tone: 'warn', label: 'Stays without logs' },
  'past-age': { tone: 'warn', label: 'Beyond its age' },
  'keeps-everything': { tone: 'info', label: 'Keeps everything' },
  new: { tone: 'info', label: 'Not carried out yet' },
  applied: { tone: 'ok', label: 'Carried out' },
  asks: { tone: 'warn', label: 'Asks people' },
  // Proof
  'kit-proven': { tone: 'ok', label: 'Kit proven' },
  'data-proven': { tone: 'ok', label: 'Data proven' },
  'needs-kit': { tone: 'warn', label: 'Needs kit' },
  checked: { tone: 'ok', label: 'System checked' },
  proven: { tone: 'ok', label: 'Proven' },
  unproven: { tone: 'warn', label: 'Unproven' },
  overdue: { tone: 'warn', label: 'Overdue' },
  // Checks
  ok: { tone: 'ok', label: 'OK' },
  warn: { tone: 'warn', label: 'Attention' },
  bad: { tone: 'bad', label: 'Problem' },
  // Audit
  done: { tone: 'ok', label: 'Done' },
  refused: { tone: 'warn', label: 'Refused' },
  // Readings of a target
  whole: { tone: 'ok', label: 'Whole' },
  repaired: { tone: 'warn', label: 'Repaired' },
  damaged: { tone: 'bad', label: 'Damaged' },
  // Anchors of the audit log
  current: { tone: 'ok', label: 'Anchored' },
  behind: { tone: 'warn', label: 'Behind' },
  failing: { tone: 'bad', label: 'Not reached' },
  none: { tone: 'neutral', label: 'Not yet' },
  // Content of a snapshot against the present
  same: { tone: 'neutral', label: 'Same as now' },
  changed: { tone: 'info', label: 'Changed since' },
  deleted: { tone: 'warn', label: 'Deleted since' },
};

export function lookOf(state: string): StateLook {
  return LOOKS[state] ?? { tone: 'neutral', label: state };
}
