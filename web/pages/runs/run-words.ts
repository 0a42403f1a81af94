/** What long work is called. */
import type { Run } from '../../api/shapes.ts';
import { paths } from '../../routes.ts';

const TITLES: Partial<Record<string, string>> = {
  snapshot: 'Snapshot',
  'restore-test': 'Restore test',
  'restore-file': 'Restore of a file',
  'restore-folder': 'Restore of a folder',
  'restore-directory': 'Restore into a directory',
  verify: 'Verify',
  prune: 'Forget and prune',
  copy: 'Copy to a target',
  'collect-files': 'Collect files',
  'update-rehearsal': 'Rehearsal of an update',
  'publish-keys': 'Keys to the targets',
  'audit-anchor': 'Anchoring of the audit log',
  'audit-verify': 'Verification of the audit log',
};

const CAUSES: Record<Run['cause'], string> = {
  person: 'started by a person',
  schedule: 'by schedule',
  'catch-up': 'missed, caught up',
  console: 'from the command line',
};

export function kindWords(kind: string): string {
  return TITLES[kind] ?? kind;
}

export function runTitle(run: Run): string {
  return kindWords(run.kind);
}

export function runCause(run: Run): string {
  return CAUSES[run.cause];
}

/** `42 %`, when it can be said. */
export function runShare(run: Run): string | undefined {
  const { bytesDone, bytesTotal } = run.progress;
  if (bytesDone === undefined || bytesTotal === undefined || bytesTotal === 0) return undefined;
  return `${Math.min(100, Math.floor((bytesDone / bytesTotal) * 100))} %`;
}

/** Where what a run has made is shown. */
export function runResultHref(run: Run): string | undefined {
  const snapshotId = run.result?.['snapshotId'];
  if (run.kind === 'snapshot' && typeof snapshotId === 'string') return paths.snapshot(snapshotId);
  const testId = run.result?.['restoreTestId'];
  if (run.kind === 'restore-test' && typeof testId === 'string') return paths.restoreTest(testId);
  return undefined;
}
