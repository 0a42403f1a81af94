/**
 * A signed report as pages to read, print and keep: PDF/A-3b (ISO 19005-3), with the signed report attached, whole and unchanged.
 * Guarantees: nothing is on the pages that is not in the signed bytes, and the same bytes always give the same file, so whoever has
 * this version of Holdfast can tell pages that were altered (`comparePages`).
 */
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { HoldfastError } from '../lib/errors.ts';
import { SOFTWARE_VERSION } from '../lib/version.ts';
import { readReport, type RestoreTestReport } from './report.ts';
import type { CheckResult } from './schema.ts';

type Document = PDFKit.PDFDocument;

export type PrintedPages = 'as-signed' | 'altered' | 'other-version';

/** Points. */
const MARGIN = 48;
const INK = '#1b1f24';
const MUTED = '#57606a';
const LINE = '#d0d7de';
const COLOURS = { passed: '#116329', warned: '#7d4e00', failed: '#a40e26', skipped: '#7d4e00' } as const;
const FONTS = { text: 'DejaVuSans', bold: 'DejaVuSans-Bold', mono: 'DejaVuSansMono' } as const;
const CREATOR = `Holdfast ${SOFTWARE_VERSION}`;
const ATTACHMENT = /\/EmbeddedFile[^]*?\nstream\n([^]*?)\nendstream/;

/**
 * Lays a report out: a tenth of a second of computing, so a server leaves it to a thread (`printInThread`).
 *
 * @param signed - the report as it was signed: two JSON lines.
 * @returns the file; some 150 KiB, most of it the letters.
 */
export async function printReport(signed: Buffer): Promise<Buffer> {
  const report = readReport(signed);
  // Its fonts and parts take 60 MiB once loaded: only a server that prints has them.
  const { default: PDFDocument } = await import('pdfkit');
  const at = new Date(report.finishedAt);
  const doc = new PDFDocument({
    size: 'A4',
    margins: { top: MARGIN, bottom: MARGIN + 12, left: MARGIN, right: MARGIN },
    subset: 'PDF/A-3b',
    pdfVersion: '1.7',
    lang: 'en',
    displayTitle: true,
    bufferPages: true,
    // Another zlib would make other bytes of the same pages.
    compress: false,
    font: fontFile(FONTS.text),
    info: { Title: `Restore test ${report.id}`, Creator: CREATOR, Producer: CREATOR, CreationDate: at },
  });
  const chunks: Buffer[] = [];
  const whole = new Promise<Buffer>((resolve, reject) => {
    doc.on('data', (chunk: Buffer) => chunks.push(chunk));
    doc.once('end', () => {
      resolve(Buffer.concat(chunks));
    });
    doc.once('error', reject);
  });
  for (const name of Object.values(FONTS)) doc.registerFont(name, fontFile(name));
  // Its types do not know the relationship yet, which PDF/A-3 wants.
  const attached = {
    name: `restore-test-${report.id}.jsonl`,
    type: 'application/jsonl',
    description: 'The signed report',
    creationDate: at,
    modifiedDate: at,
    relationship: 'Source',
  };
  doc.file(signed, attached);
  const sha256 = createHash('sha256').update(signed).digest('hex');
  printVerdict(doc, report);
  printFacts(doc, 'What was tested', factsOfTest(report));
  printChecks(doc, report.checks);
  printFacts(doc, 'What it came from', factsOfOrigin(report, sha256));
  printHowToVerify(doc, report);
  printFooters(doc, report, sha256);
  doc.end();
  return whole;
}

/** The signed report that a printed one carries, not yet believed. @throws HoldfastError `invalid_input` when there is none. */
export function takeAttachedReport(pdf: Buffer): Buffer {
  const found = ATTACHMENT.exec(pdf.toString('latin1'))?.[1];
  if (found !== undefined) return Buffer.from(found, 'latin1');
  throw new HoldfastError('invalid_input', 'No signed report is attached to this PDF', {
    hint: 'Give the file as it was downloaded; a copy that was printed anew or joined with others loses it.',
  });
}

/** Whether the pages are what this version prints of that report; another version may lay it out otherwise. */
export async function comparePages(pdf: Buffer, signed: Buffer): Promise<PrintedPages> {
  if ((await printReport(signed)).equals(pdf)) return 'as-signed';
  return pdf.includes(`(${CREATOR})`, 0, 'latin1') ? 'altered' : 'other-version';
}

export function isPdf(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, 5)).toString('latin1') === '%PDF-';
}

function fontFile(name: string): string {
  return createRequire(import.meta.url).resolve(`dejavu-fonts-ttf/ttf/${name}.ttf`);
}

function printVerdict(doc: Document, report: RestoreTestReport): void {
  const passed = report.state === 'passed';
  const failed = report.checks.filter(({ state }) => state !== 'passed' && state !== 'warned').length;
  doc.font(FONTS.bold).fontSize(11).fillColor(MUTED).text('Holdfast · restore test');
  doc
    .moveDown(0.4)
    .fontSize(24)
    .fillColor(passed ? COLOURS.passed : COLOURS.failed);
  doc.text(verdictOf(report)).moveDown(0.2);
  doc.font(FONTS.text).fontSize(10.5).fillColor(INK);
  if (!passed) doc.text(`${failed} of ${report.checks.length} checks did not pass. This copy is not proven.`);
  else if (report.grade === 'kit-proven')
    doc.text(`The recovery kit alone opened this copy, and ${scopeOf(report)} came out whole.`);
  else
    doc.text(
      `The copy was opened with the test identity of the appliance, and ${scopeOf(report)} came out whole.`,
    );
}

function verdictOf({ state, grade }: RestoreTestReport): string {
  if (state === 'failed') return 'Failed';
  return grade === 'kit-proven' ? 'Kit proven' : 'Data proven';
}

const scopeOf = ({ mode }: RestoreTestReport): string =>
  mode === 'full' ? 'everything in it' : 'the database and a sample of the files';

type Facts = readonly (readonly [name: string, value: string, face?: keyof typeof FONTS])[];

function factsOfTest(report: RestoreTestReport): Facts {
  const { snapshot, rtoMs, rtoBasis, rpoMs, objectives } = report;
  const aimedAt = (ms: number | null | undefined) => (ms == null ? '' : `; objective ${seconds(ms)}`);
  return [
    ['Began', instant(report.startedAt)],
    ['Ended', instant(report.finishedAt)],
    [
      'Scope',
      report.mode === 'full'
        ? 'Full: everything was read'
        : 'Quick: the whole database, a sample of the files',
    ],
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

function heading(doc: Document, title: string): void {
  // A heading alone at the foot of a page says nothing.
  if (doc.y > doc.page.height - 160) doc.addPage();
  doc.moveDown(1.4).font(FONTS.bold).fontSize(12).fillColor(INK).text(title, MARGIN).moveDown(0.4);
}

function printFacts(doc: Document, title: string, facts: Facts): void {
  heading(doc, title);
  doc.font(FONTS.text).fontSize(9).fillColor(INK);
  doc.table({
    columnStyles: [130, '*'],
    defaultStyle: { border: [0, 0, 0.5, 0], borderColor: LINE, padding: [3, 4, 3, 0] },
    data: facts.map(([name, value, face = 'text']) => [
      { text: name, textColor: MUTED },
      { text: shown(value), font: { src: FONTS[face], size: face === 'mono' ? 8 : 9 } },
    ]),
  });
}

function printChecks(doc: Document, checks: readonly CheckResult[]): void {
  heading(doc, 'Checks');
  doc.font(FONTS.text).fontSize(8.5).fillColor(INK);
  const head = ['Result', 'Check', 'Expected', 'Found', 'Time'];
  doc.table({
    columnStyles: [50, 110, '*', '*', 48],
    defaultStyle: { border: [0, 0, 0.5, 0], borderColor: LINE, padding: [3, 5, 3, 0] },
    data: [
      head.map((text) => ({ text, font: { src: FONTS.bold, size: 8.5 }, textColor: MUTED })),
      ...checks.map(({ state, label, expected, found, durationMs }) => [
        { text: state, font: { src: FONTS.bold, size: 8.5 }, textColor: COLOURS[state] },
        ...[label, expected, found, seconds(durationMs)].map((text) => ({ text: shown(text) })),
      ]),
    ],
  });
}

function printHowToVerify(doc: Document, report: RestoreTestReport): void {
  heading(doc, 'How to verify this');
  doc
    .font(FONTS.text)
    .fontSize(9)
    .fillColor(INK)
    .text(
      'The signed report is attached to this file. Anybody who has the public half of the trust root of the appliance, from its owner or from a recovery kit, can check it without a network, an appliance or a secret. The command also says whether these pages were altered:',
    );
  doc.moveDown(0.5).font(FONTS.mono).fontSize(8.5);
  doc.text(`holdfast verify-report restore-test-${report.id}.pdf --trust-root …`);
}

function printFooters(doc: Document, report: RestoreTestReport, sha256: string): void {
  const { start, count } = doc.bufferedPageRange();
  for (let index = start; index < start + count; index += 1) {
    doc.switchToPage(index);
    // Below the margin, where text would else begin another page.
    doc.page.margins.bottom = 0;
    const y = doc.page.height - MARGIN;
    doc.font(FONTS.text).fontSize(7.5).fillColor(MUTED);
    doc.text(`Restore test ${report.id} · report ${sha256.slice(0, 16)}…`, MARGIN, y, { lineBreak: false });
    doc.text(`${index + 1} of ${count}`, MARGIN, y, { width: doc.page.width - 2 * MARGIN, align: 'right' });
  }
}

/** What comes from people and storage: one line, with nothing in it that moves the pen. */
function shown(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '\u{fffd}');
}

function instant(at: string | null): string {
  return at === null ? 'not known' : `${at.slice(0, 10)} ${at.slice(11, 19)} UTC`;
}

function seconds(ms: number): string {
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.round(ms / 60_000);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
