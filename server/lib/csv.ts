/** CSV as RFC 4180 has it, for what is exported and imported. */
import { HoldfastError } from './errors.ts';

/** A cell that a spreadsheet would run as a formula is made text. */
export function toCsv(rows: readonly (readonly string[])[]): string {
  return rows.map((row) => row.map(cell).join(',')).join('\r\n') + '\r\n';
}

function cell(text: string): string {
  const safe = /^[\s]*[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export interface CsvRow {
  /** Where it begins, from 1. */
  line: number;
  cells: string[];
}

/**
 * Rows of a text: commas or semicolons, whichever the first line has more of; quotes may hold line breaks. Empty lines are left out.
 *
 * @throws HoldfastError `invalid_input` that names the line, for a quote that is not closed or stands where none may.
 */
export function parseCsv(text: string): CsvRow[] {
  const source = text.replace(/^\uFEFF/, '');
  const [head = ''] = source.split(/\r?\n/, 1);
  const mark = head.split(';').length > head.split(',').length ? ';' : ',';
  const rows: CsvRow[] = [];
  let row: CsvRow = { line: 1, cells: [] };
  let line = 1;
  for (let at = 0; at <= source.length;) {
    const { value, end, breaks } = readCell(source, at, mark, line);
    row.cells.push(value);
    line += breaks;
    const next = source[end];
    at = end + 1;
    if (next === mark) continue;
    if (next === '\r' && source[at] === '\n') at += 1;
    if (row.cells.some((one) => one !== '')) rows.push(row);
    line += 1;
    row = { line, cells: [] };
  }
  return rows;
}

function readCell(
  source: string,
  at: number,
  mark: string,
  line: number,
): { value: string; end: number; breaks: number } {
  if (source[at] !== '"') {
    let end = at;
    while (end < source.length && source[end] !== mark && source[end] !== '\n' && source[end] !== '\r')
      end += 1;
    const value = source.slice(at, end);
    if (value.includes('"')) throw badCsv(line, 'a quote stands inside a cell that does not begin with one');
    return { value: value.trim(), end, breaks: 0 };
  }
  let value = '';
  for (let end = at + 1; end < source.length; end += 1) {
    if (source[end] !== '"') {
      value += source.charAt(end);
      continue;
    }
    if (source[end + 1] === '"') {
      value += '"';
      end += 1;
      continue;
    }
    const next = source[end + 1];
    if (next !== undefined && next !== mark && next !== '\n' && next !== '\r')
      throw badCsv(line, 'something follows a closing quote');
    return { value: value.trim(), end: end + 1, breaks: value.split('\n').length - 1 };
  }
  throw badCsv(line, 'a quote is not closed');
}

function badCsv(line: number, why: string): HoldfastError {
  return new HoldfastError('invalid_input', `Line ${line}: ${why}`, {
    hint: 'Export the file again as CSV with quotes around cells that hold commas.',
  });
}
