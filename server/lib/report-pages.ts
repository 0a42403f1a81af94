/**
 * A signed report as pages to read, print and keep: PDF/A-3b (ISO 19005-3), with the signed report attached, whole and unchanged.
 * Guarantees: nothing is on the pages that is not in the signed bytes, and the same bytes always give the same file, so whoever has
 * this version of Holdfast can tell pages that were altered (`comparePages`). What is laid out is each kind of report's own.
 */
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { HoldfastError } from './errors.ts';
import { SOFTWARE_VERSION } from './version.ts';

type Document = PDFKit.PDFDocument;

export type PrintedPages = 'as-signed' | 'altered' | 'other-version';

/** Points. */
const MARGIN = 48;
const INK = '#1b1f24';
const MUTED = '#57606a';
const LINE = '#d0d7de';
const COLOURS = { good: '#116329', warned: '#7d4e00', bad: '#a40e26' } as const;
const FONTS = { text: 'DejaVuSans', bold: 'DejaVuSans-Bold', mono: 'DejaVuSansMono' } as const;
const CREATOR = `Holdfast ${SOFTWARE_VERSION}`;
const ATTACHMENT = /\/EmbeddedFile[^]*?\nstream\n([^]*?)\nendstream/;

type PageTone = keyof typeof COLOURS;

export type PageFacts = readonly (readonly [name: string, value: string, face?: keyof typeof FONTS])[];

export interface PageTable {
  /** Widths in points; `*` shares what is left. */
  columns: readonly (readonly [label: string, width: number | '*'])[];
  /** The first cell of a row may have the tone of its state. */
  rows: readonly { tone?: PageTone; cells: readonly string[] }[];
}

/** What is on the pages of one report. */
export interface PageContent {
  /** Such as `Restore test`. */
  what: string;
  id: string;
  /** Of the attached report and the PDF, without what follows the dot. */
  fileName: string;
  /** RFC 3339: the file's own date. */
  at: string;
  verdict: { words: string; tone: PageTone; line: string };
  /** @param sha256 - of the signed report */
  sections: (sha256: string) => readonly {
    title: string;
    facts?: PageFacts;
    table?: PageTable;
  }[];
}

/**
 * Lays a report out: a tenth of a second of computing, so a server leaves it to a thread (`print-in-thread.ts`).
 *
 * @param signed - the report as it was signed: two JSON lines.
 * @returns the file; some 150 KiB, most of it the letters.
 */
export async function printPages(signed: Buffer, content: PageContent): Promise<Buffer> {
  // Its fonts and parts take 60 MiB once loaded: only a server that prints has them.
  const { default: PDFDocument } = await import('pdfkit');
  const at = new Date(content.at);
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
    info: {
      ...{ Title: `${content.what} ${content.id}`, Creator: CREATOR, Producer: CREATOR, CreationDate: at },
    },
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
    name: `${content.fileName}.jsonl`,
    type: 'application/jsonl',
    description: 'The signed report',
    creationDate: at,
    modifiedDate: at,
    relationship: 'Source',
  };
  doc.file(signed, attached);
  const sha256 = createHash('sha256').update(signed).digest('hex');
  printVerdict(doc, content);
  for (const { title, facts, table } of content.sections(sha256)) {
    heading(doc, title);
    if (facts !== undefined) printFacts(doc, facts);
    if (table !== undefined) printTable(doc, table);
  }
  printHowToVerify(doc, content);
  printFooters(doc, content, sha256);
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
export async function comparePages(
  pdf: Buffer,
  signed: Buffer,
  print: (signed: Buffer) => Promise<Buffer>,
): Promise<PrintedPages> {
  if ((await print(signed)).equals(pdf)) return 'as-signed';
  return pdf.includes(`(${CREATOR})`, 0, 'latin1') ? 'altered' : 'other-version';
}

export function isPdf(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, 5)).toString('latin1') === '%PDF-';
}

function fontFile(name: string): string {
  return createRequire(import.meta.url).resolve(`dejavu-fonts-ttf/ttf/${name}.ttf`);
}

function printVerdict(doc: Document, { what, verdict }: PageContent): void {
  doc.font(FONTS.bold).fontSize(11).fillColor(MUTED).text(`Holdfast · ${what.toLowerCase()}`);
  doc.moveDown(0.4).fontSize(24).fillColor(COLOURS[verdict.tone]);
  doc.text(verdict.words).moveDown(0.2);
  doc.font(FONTS.text).fontSize(10.5).fillColor(INK).text(shown(verdict.line));
}

function heading(doc: Document, title: string): void {
  // A heading alone at the foot of a page says nothing.
  if (doc.y > doc.page.height - 160) doc.addPage();
  doc.moveDown(1.4).font(FONTS.bold).fontSize(12).fillColor(INK).text(title, MARGIN).moveDown(0.4);
}

function printFacts(doc: Document, facts: PageFacts): void {
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

function printTable(doc: Document, { columns, rows }: PageTable): void {
  doc.font(FONTS.text).fontSize(8.5).fillColor(INK);
  doc.table({
    columnStyles: columns.map(([, width]) => width),
    defaultStyle: { border: [0, 0, 0.5, 0], borderColor: LINE, padding: [3, 5, 3, 0] },
    data: [
      columns.map(([text]) => ({ text, font: { src: FONTS.bold, size: 8.5 }, textColor: MUTED })),
      ...rows.map(({ tone, cells: [first = '', ...rest] }) => [
        tone === undefined
          ? { text: shown(first) }
          : { text: shown(first), font: { src: FONTS.bold, size: 8.5 }, textColor: COLOURS[tone] },
        ...rest.map((text) => ({ text: shown(text) })),
      ]),
    ],
  });
}

function printHowToVerify(doc: Document, { fileName }: PageContent): void {
  heading(doc, 'How to verify this');
  doc
    .font(FONTS.text)
    .fontSize(9)
    .fillColor(INK)
    .text(
      'The signed report is attached to this file. Anybody who has the public half of the trust root of the appliance, from its owner or from a recovery kit, can check it without a network, an appliance or a secret. The command also says whether these pages were altered:',
    );
  doc.moveDown(0.5).font(FONTS.mono).fontSize(8.5);
  doc.text(`holdfast verify-report ${fileName}.pdf --trust-root …`);
}

function printFooters(doc: Document, { what, id }: PageContent, sha256: string): void {
  const { start, count } = doc.bufferedPageRange();
  for (let index = start; index < start + count; index += 1) {
    doc.switchToPage(index);
    // Below the margin, where text would else begin another page.
    doc.page.margins.bottom = 0;
    const y = doc.page.height - MARGIN;
    doc.font(FONTS.text).fontSize(7.5).fillColor(MUTED);
    doc.text(`${what} ${id} · report ${sha256.slice(0, 16)}…`, MARGIN, y, { lineBreak: false });
    doc.text(`${index + 1} of ${count}`, MARGIN, y, { width: doc.page.width - 2 * MARGIN, align: 'right' });
  }
}

/** What comes from people and storage: one line, with nothing in it that moves the pen. */
function shown(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '\u{fffd}');
}

export function pageInstant(at: string | null): string {
  return at === null ? 'not known' : `${at.slice(0, 10)} ${at.slice(11, 19)} UTC`;
}

export function pageSeconds(ms: number): string {
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.round(ms / 60_000);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
