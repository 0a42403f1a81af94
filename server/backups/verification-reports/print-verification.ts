/** What stands on the pages of a verification's report (`server/lib/report-pages.ts`). */
import { formatBytes } from '../../lib/byte-words.ts';
import {
  pageInstant as instant,
  printPages,
  type PageContent,
  type PageFacts,
  type PageTable,
} from '../../lib/report-pages.ts';
import type { Reading } from './reading.ts';
import { readVerificationReport, type VerificationReport } from './report.ts';
import { depthWords, describeVerification } from './words.ts';

const TONES = { whole: 'good', repaired: 'warned', damaged: 'bad' } as const;
const VERDICTS = { whole: 'Whole', repaired: 'Damage found and repaired', damaged: 'Damaged' } as const;

/** @param signed - the report as it was signed: two JSON lines. */
export async function printVerification(signed: Buffer): Promise<Buffer> {
  return printPages(signed, pagesOf(readVerificationReport(signed)));
}

function pagesOf(report: VerificationReport): PageContent {
  const { state, readings } = report;
  const damage = damageTable(readings);
  return {
    what: 'Verification',
    id: report.id,
    fileName: `verification-${report.id}`,
    at: report.finishedAt,
    verdict: { words: VERDICTS[state], tone: TONES[state], line: describeVerification(report) },
    sections: (sha256) => [
      { title: 'What was read', facts: factsOfReading(report) },
      ...(damage.rows.length === 0 ? [] : [{ title: 'Damage', table: damage }]),
      { title: readings.length === 1 ? 'The reading' : 'The parts', table: readingsTable(readings) },
      { title: 'What it came from', facts: factsOfOrigin(report, sha256) },
    ],
  };
}

function factsOfReading({ scope, summary, ...report }: VerificationReport): PageFacts {
  return [
    ['Began', instant(report.startedAt)],
    ['Ended', instant(report.finishedAt)],
    [
      'Scope',
      scope === 'whole' ? 'Everything on the target, at once' : `A cycle of ${summary.parts} parts, closed`,
    ],
    ['Read', `${summary.packs} packs, ${formatBytes(summary.bytes)}; ${summary.snapshots} snapshots checked`],
    ['How deep', depthWords(summary.depth)],
  ];
}

/** Newest last, each object of each reading once. */
function damageTable(readings: readonly Reading[]): PageTable {
  const rows: { tone: 'warned' | 'bad'; cells: string[] }[] = [];
  for (const reading of readings) {
    const mended = new Map(reading.repaired.map(({ object, from }) => [object, from.name]));
    const whole = new Set(reading.foundWhole);
    const left = new Set(reading.left.map(({ object }) => object));
    const listed = new Map([...reading.found, ...reading.left].map((one) => [one.object, one]));
    for (const { object, message } of listed.values()) {
      const from = mended.get(object);
      const isLeft = left.has(object);
      const became = isLeft
        ? 'left'
        : from !== undefined
          ? `repaired from ${from}`
          : whole.has(object)
            ? 'found whole after all'
            : 'whole again';
      rows.push({
        tone: isLeft ? 'bad' : 'warned',
        cells: [became, object, message, instant(reading.finishedAt)],
      });
    }
    const unnamed = reading.foundCount - reading.found.length;
    if (unnamed > 0)
      rows.push({
        tone: 'bad',
        cells: ['more', `${unnamed} further objects are not named`, '', instant(reading.finishedAt)],
      });
  }
  return {
    columns: [
      ['Became', 90],
      ['Object', '*'],
      ['Found', '*'],
      ['When', 100],
    ],
    rows,
  };
}

function readingsTable(readings: readonly Reading[]): PageTable {
  return {
    columns: [
      ['Part', 42],
      ['Ended', 108],
      ['Packs', 40],
      ['Read', 64],
      ['Snapshots', 54],
      ['Head', 40],
      ['How deep', '*'],
      ['Version', 52],
    ],
    rows: readings.map((one) => ({
      tone: one.leftCount > 0 ? 'bad' : one.foundCount > 0 ? 'warned' : 'good',
      cells: [
        `${one.part} of ${one.of}`,
        instant(one.finishedAt),
        String(one.packs),
        formatBytes(one.bytes),
        String(one.snapshots),
        String(one.head?.number ?? 'none'),
        depthWords(one.depth),
        one.software,
      ],
    })),
  };
}

function factsOfOrigin(report: VerificationReport, sha256: string): PageFacts {
  const { target, readings } = report;
  const head = readings.at(-1)?.head;
  return [
    ['Repository', report.repositoryId, 'mono'],
    ['Target', `${target.name}, in ${target.region}`],
    ['Target id', `${target.id} (${target.kind})`, 'mono'],
    ['Head at the end', head == null ? 'none' : `number ${head.number}, ${head.sha256}`, 'mono'],
    ['Run', readings.at(-1)?.runId ?? 'none', 'mono'],
    ['Software', report.software, 'mono'],
    ['SHA-256 of the report', sha256, 'mono'],
  ];
}
