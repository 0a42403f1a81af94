/** What stands on the pages of a restore test's report (`server/lib/report-pages.ts`). */
import {
  pageInstant as instant,
  pageSeconds as seconds,
  printPages,
  type PageContent,
  type PageFacts as Facts,
  type PageTable,
} from '../lib/report-pages.ts';
import { readReport, type RestoreTestReport } from './report.ts';
import type { CheckResult } from './schema.ts';

const SCOPES = {
  quick: 'Quick: the whole database, a sample of the files',
  full: 'Full: everything was read',
  system: 'System: the facts of the appliance and of its machine, none of the data',
} as const;

const TONES = { passed: 'good', warned: 'warned', failed: 'bad', skipped: 'warned' } as const;

/** @param signed - the report as it was signed: two JSON lines. */
export async function printReport(signed: Buffer): Promise<Buffer> {
  return printPages(signed, pagesOf(readReport(signed)));
}

function pagesOf(report: RestoreTestReport): PageContent {
  return {
    what: 'Restore test',
    id: report.id,
    fileName: `restore-test-${report.id}`,
    at: report.finishedAt,
    verdict: {
      words: verdictOf(report),
      tone: report.state === 'passed' ? 'good' : 'bad',
      line: lineOf(report),
    },
    sections: (sha256) => [
      { title: 'What was tested', facts: factsOfTest(report) },
      { title: 'Checks', table: tableOf(report.checks) },
      { title: 'What it came from', facts: factsOfOrigin(report, sha256) },
    ],
  };
}

function lineOf(report: RestoreTestReport): string {
  if (report.state === 'failed') {
    const failed = report.checks.filter(({ state }) => state !== 'passed' && state !== 'warned').length;
    return `${failed} of ${report.checks.length} checks did not pass. This copy is not proven.`;
  }
  if (report.mode === 'system')
    return 'What a machine needs besides its data was read and checked. Nothing of the data was restored, and none of it is proven by this.';
  return report.grade === 'kit-proven'
    ? `The recovery kit alone opened this copy, and ${scopeOf(report)} came out whole.`
    : `The copy was opened with the test identity of the appliance, and ${scopeOf(report)} came out whole.`;
}

function tableOf(checks: readonly CheckResult[]): PageTable {
  return {
    columns: [
      ['Result', 50],
      ['Check', 110],
      ['Expected', '*'],
      ['Found', '*'],
      ['Time', 48],
    ],
    rows: checks.map(({ state, label, expected, found, durationMs }) => ({
      tone: TONES[state],
      cells: [state, label, expected, found, seconds(durationMs)],
    })),
  };
}

function verdictOf({ state, grade, mode }: RestoreTestReport): string {
  if (state === 'failed') return 'Failed';
  if (mode === 'system') return 'System checked';
  return grade === 'kit-proven' ? 'Kit proven' : 'Data proven';
}

const scopeOf = ({ mode }: RestoreTestReport): string =>
  mode === 'full' ? 'everything in it' : 'the database and a sample of the files';

function factsOfTest(report: RestoreTestReport): Facts {
  const { snapshot, rtoMs, rtoBasis, rpoMs, objectives } = report;
  const aimedAt = (ms: number | null | undefined) => (ms == null ? '' : `; objective ${seconds(ms)}`);
  return [
    ['Began', instant(report.startedAt)],
    ['Ended', instant(report.finishedAt)],
    ['Scope', SCOPES[report.mode]],
    [
      'Opened with',
      report.kitId === null ? 'Test identity of the appliance' : `Recovery kit ${report.kitId}`,
    ],
    ['Snapshot taken', instant(snapshot.takenAt)],
    ...(report.copy === undefined ? [] : [['Copy chosen', describeChoice(report.copy)] as const]),
    [
      'Restored in (RTO)',
      rtoMs === null
        ? 'Not reached'
        : `${seconds(rtoMs)}${rtoBasis === 'measured' ? '' : ', reckoned from the sample'}${aimedAt(objectives?.rtoMs)}`,
    ],
    ['Could be lost (RPO)', rpoMs === null ? 'Not known' : `${seconds(rpoMs)}${aimedAt(objectives?.rpoMs)}`],
  ];
}

function describeChoice({ choice, drawnFrom, newest }: NonNullable<RestoreTestReport['copy']>): string {
  const words = {
    latest: 'The newest on its target',
    certain: `By a person; ${newest ? '' : 'not '}the newest on its target`,
    random: `Drawn by the server among ${drawnFrom ?? 'all'} that were kept, each with the same chance; ${newest ? '' : 'not '}the newest on its target`,
  };
  return words[choice];
}

function factsOfOrigin(report: RestoreTestReport, sha256: string): Facts {
  const { snapshot, head, target } = report;
  const or = (value: string | null): string => value ?? 'not known';
  return [
    ['Repository', report.repositoryId, 'mono'],
    ['Target', `${or(target.id)} (${target.kind})`, 'mono'],
    ['Snapshot', `${snapshot.id}, number ${or(snapshot.number)}`, 'mono'],
    ['Restore point', `${or(snapshot.restorePoint)}, ends at ${or(snapshot.endLsn)}`, 'mono'],
    [
      'Keyring',
      `epoch ${or(snapshot.keyringEpoch)}, from ${report.keyringObjects.join(', ') || 'nothing'}`,
      'mono',
    ],
    ['Head', head === null ? 'none' : `number ${head.number}, ${head.sha256}`, 'mono'],
    ['Software', report.software, 'mono'],
    ['SHA-256 of the report', sha256, 'mono'],
  ];
}
