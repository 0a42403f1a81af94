/** A report as PDF: what is on the pages, read by another program, and what is attached. */
import { extractText, getDocumentProxy } from 'unpdf';
import { describe, expect, test } from 'vitest';
import { comparePages, takeAttachedReport } from '../../server/lib/report-pages.ts';
import { printReport } from '../../server/restore-tests/print-report.ts';
import { REPORT_KIND, type RestoreTestReport } from '../../server/restore-tests/report.ts';
import { SOFTWARE_VERSION } from '../../server/lib/version.ts';

const REPORT: RestoreTestReport = {
  ...{ kind: REPORT_KIND, format: 1, id: '11111111-2222-4333-8444-555555555555' },
  ...{ repositoryId: '0f'.repeat(16), number: '7', software: '0.1.0' },
  ...{ state: 'failed', grade: null, mode: 'quick', keySource: 'test-identity', kitId: null },
  ...{ startedAt: '2026-03-01T02:00:00.000Z', finishedAt: '2026-03-01T02:01:00.000Z' },
  snapshot: {
    ...{ id: 'ab'.repeat(32), number: '7', takenAt: '2026-02-28T02:00:00.000Z' },
    ...{ restorePoint: 'holdfast-7', endLsn: '0/3000100', keyringEpoch: '3' },
  },
  target: { id: null, kind: 'directory' },
  head: { number: 7, sha256: 'cd'.repeat(32) },
  keyringObjects: [],
  ...{ rtoMs: 61_000, rtoBasis: 'extrapolated', rpoMs: 86_400_000 },
  checks: [
    check('passed', 'Größe – Ω', 'a', 'b'),
    check('failed', 'Rows of every table', '12 rows', '11 rows\nin "files"\u202e'),
  ],
  keysObject: { name: 'keys/1', object: 'AAAA' },
};

function check(state: 'passed' | 'failed', label: string, expected: string, found: string) {
  return { id: label, label, state, expected, found, durationMs: 1_500 };
}

const sign = (report: RestoreTestReport) => Buffer.from(`${JSON.stringify(report)}\n{"signature":"x"}\n`);

async function wordsOf(pdf: Buffer): Promise<string> {
  const { text } = await extractText(await getDocumentProxy(new Uint8Array(pdf)), { mergePages: true });
  return text.replaceAll(/\s+/g, ' ');
}

test('verdict, times, every check and what it came from are on the pages', async () => {
  const words = await wordsOf(await printReport(sign(REPORT)));

  expect(words).toContain('Failed 1 of 2 checks did not pass');
  expect(words).toContain('61.0 s, reckoned from the sample');
  expect(words).toContain('24 h');
  expect(words).toContain('passed Größe – Ω a b 1.5 s');
  expect(words).toContain('failed Rows of every table 12 rows 11 rows\u{fffd}in "files"\u{fffd} 1.5 s');
  for (const value of ['ab'.repeat(32), 'cd'.repeat(32), 'holdfast-7', '0f'.repeat(16)])
    expect(words.replaceAll(' ', '')).toContain(value);
});

test('a report of many checks goes on over pages that are numbered', async () => {
  const checks = Array.from({ length: 120 }, (_, index) => check('passed', `Check ${index}`, 'x', 'x'));

  const words = await wordsOf(
    await printReport(sign({ ...REPORT, state: 'passed', grade: 'kit-proven', checks })),
  );

  expect(words).toContain('Kit proven');
  for (const { label } of checks) expect(words).toContain(`${label} x x`);
  expect(words).toMatch(/2 of [4-9]/);
});

describe('what is attached', () => {
  test('is the signed report, byte by byte, and the pages are those of it', async () => {
    const signed = sign(REPORT);
    const pdf = await printReport(signed);

    expect(takeAttachedReport(pdf)).toEqual(signed);
    expect(await comparePages(pdf, signed, printReport)).toBe('as-signed');
  });

  test('does not fit pages of another report', async () => {
    const [mine, other] = [sign(REPORT), sign({ ...REPORT, state: 'passed', grade: 'data-proven' })];
    const pages = (await printReport(other)).toString('latin1');
    const forged = Buffer.from(pages.replace(other.toString('latin1'), mine.toString('latin1')), 'latin1');

    expect(takeAttachedReport(forged)).toEqual(mine);
    expect(await comparePages(forged, mine, printReport)).toBe('altered');
  });

  test('cannot be compared with pages that another version printed', async () => {
    const signed = sign(REPORT);
    const pdf = (await printReport(signed)).toString('latin1');
    const older = Buffer.from(pdf.replaceAll(`Holdfast ${SOFTWARE_VERSION}`, 'Holdfast 0.0.1'), 'latin1');

    expect(await comparePages(older, signed, printReport)).toBe('other-version');
  });

  test('is missed in any other PDF', () => {
    expect(() => takeAttachedReport(Buffer.from('%PDF-1.7\n%%EOF'))).toThrow('No signed report');
  });
});
