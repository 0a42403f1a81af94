/**
 * The registers as a file: what comes in is checked to the last line first, and comes in whole or not at all. What is there already to the
 * letter is left out, so that a file that was mended and grew can be brought in again.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { parseCsv, toCsv, type CsvRow } from '../../lib/csv.ts';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { allUserRows, normaliseEmail, openPeople } from '../people/people.ts';
import { checkDays, insertNew } from './entries.ts';
import { findEntries, openEntries, type RegisterDeps } from './list-entries.ts';
import { lockRegister } from './queries.ts';
import type { ImportResult, NewEntry, RegisterEntry, RegisterQuery } from './schema.ts';

type NewRow = NewEntry & { id: string };

const MOST_ROWS = 2_000;
const MOST_PROBLEMS = 50;
const KINDS: Record<string, NewEntry['kind']> = {
  confidentiality: 'confidentiality',
  'background-check': 'background-check',
  'background check': 'background-check',
  training: 'training',
};
const COLUMNS = ['email', 'kind', 'what', 'doneon', 'dueon', 'reference', 'note'];
const NEEDED = ['email', 'kind', 'what'];
/** An export has them; they are not read. */
const IGNORED = ['name', 'state'];

/** @throws HoldfastError `invalid_input` for what is no CSV, without the columns it needs, or too long. */
export async function importRegister(
  deps: RegisterDeps,
  { csv, apply }: { csv: string; apply: boolean },
  actor: Actor,
): Promise<ImportResult> {
  const [head, ...rows] = parseCsv(csv);
  const columns = readHead(head);
  if (rows.length > MOST_ROWS)
    throw new HoldfastError(
      'invalid_input',
      `These are ${rows.length} rows, at most ${MOST_ROWS} come in at once`,
      {
        hint: 'Split the file.',
      },
    );
  const idOf = await findIds(deps);
  const entries: NewRow[] = [];
  const problems: ImportResult['problems'] = [];
  for (const row of rows) {
    try {
      entries.push({ id: randomUUID(), ...readRow(deps, row, columns, idOf) });
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      problems.push({ line: row.line, message: error.message });
    }
  }
  const fresh =
    apply && problems.length === 0
      ? await bringIn(deps, entries, actor)
      : leaveOutKnown(entries, await openEntries(deps));
  return {
    ...{ rows: rows.length, fresh: fresh.length, known: entries.length - fresh.length },
    imported: apply && problems.length === 0 ? fresh.length : 0,
    ...{ problemCount: problems.length, problems: problems.slice(0, MOST_PROBLEMS) },
  };
}

/** @returns those that were not there yet. */
async function bringIn(
  deps: RegisterDeps,
  entries: readonly NewRow[],
  actor: Actor,
): Promise<readonly NewRow[]> {
  return writeTransaction(deps.db, async (tx) => {
    // Of two imports of one file at once the second finds what the first brought.
    await lockRegister(tx);
    const fresh = leaveOutKnown(entries, await openEntries({ ...deps, db: tx }));
    if (fresh.length === 0) return fresh;
    await insertNew(tx, deps, fresh);
    await recordAudit(tx, deps.clock, actor, {
      ...{ action: 'identity.register.imported', objectType: 'register' },
      detail: {
        entries: fresh.length,
        known: entries.length - fresh.length,
        people: new Set(fresh.map((one) => one.userId)).size,
      },
    });
    return fresh;
  });
}

function leaveOutKnown(entries: readonly NewRow[], present: readonly RegisterEntry[]): readonly NewRow[] {
  const seen = new Set(present.map((entry) => keyOf({ ...entry, userId: entry.person.id })));
  return entries.filter((entry) => {
    const key = keyOf(entry);
    return !seen.has(key) && seen.add(key);
  });
}

const keyOf = ({ userId, kind, what, doneOn, dueOn, reference, note }: NewEntry): string =>
  JSON.stringify([userId, kind, what, doneOn, dueOn, reference, note]);

export async function exportRegister(
  deps: RegisterDeps,
  query: RegisterQuery,
  actor: Actor,
): Promise<string> {
  const entries = findEntries(await openEntries(deps, query.person), query);
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, actor, {
      ...{ action: 'identity.register.exported', objectType: 'register' },
      detail: { entries: entries.length },
    }),
  );
  const head = ['name', 'email', 'kind', 'what', 'done on', 'due on', 'reference', 'note', 'state'];
  const lines = entries.map(({ person, kind, what, doneOn, dueOn, reference, note, state }) => [
    ...[person.name, person.email, kind, what, doneOn ?? '', dueOn ?? '', reference, note, state],
  ]);
  return toCsv([head, ...lines]);
}

function readHead(head: CsvRow | undefined): Map<string, number> {
  const names = (head?.cells ?? []).map((name) => name.toLowerCase().replaceAll(/[^a-z]/g, ''));
  const odd = names.find((name) => !COLUMNS.includes(name) && !IGNORED.includes(name));
  const missing = NEEDED.find((name) => !names.includes(name));
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  const problem =
    odd !== undefined
      ? `Line 1: the column "${odd}" is not known`
      : missing !== undefined
        ? `Line 1: the column "${missing}" is missing`
        : twice === undefined
          ? undefined
          : `Line 1: the column "${twice}" is there twice`;
  if (problem !== undefined)
    throw new HoldfastError('invalid_input', problem, {
      hint: 'The first line names the columns: email, kind, what, done on, due on, reference, note.',
    });
  return new Map(names.map((name, index) => [name, index]));
}

function readRow(
  deps: RegisterDeps,
  row: CsvRow,
  columns: ReadonlyMap<string, number>,
  idOf: ReadonlyMap<string, string>,
): NewEntry {
  const cell = (name: string, most: number): string => {
    // An export keeps spreadsheets from running it.
    const text = (row.cells[columns.get(name) ?? -1] ?? '').replace(/^'(?=\s*[=+\-@])/, '').trim();
    if (text.length > most) throw bad(`"${name}" is longer than ${most} characters`);
    if (/\p{Cc}/u.test(text)) throw bad(`"${name}" holds a line break or a control character`);
    return text;
  };
  const day = (name: string): string | null => {
    const text = cell(name, 10);
    if (text === '') return null;
    const at = Date.parse(`${text}T00:00:00Z`);
    if (/^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(at) && new Date(at).toISOString().startsWith(text))
      return text;
    throw bad(`"${text}" is no day; write it as 2027-03-31`);
  };
  if (row.cells.length > columns.size) throw bad('It has more cells than the first line');
  const email = cell('email', 254);
  const userId = idOf.get(normaliseEmail(email));
  if (userId === undefined) throw bad(`Nobody here has the address "${email}"`);
  const kind = KINDS[cell('kind', 40).toLowerCase()];
  if (kind === undefined)
    throw bad(`"${cell('kind', 40)}" is no kind; it is confidentiality, background-check or training`);
  const entry = {
    ...{ userId, kind, what: cell('what', 200), doneOn: day('doneon'), dueOn: day('dueon') },
    ...{ reference: cell('reference', 200), note: cell('note', 500) },
  };
  checkDays(deps, entry);
  return entry;
}

/** By address, also of those who have left. */
async function findIds(deps: RegisterDeps): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  for await (const rows of allUserRows(deps))
    for (const person of await openPeople(deps, rows)) ids.set(normaliseEmail(person.email), person.id);
  return ids;
}

const bad = (message: string) => new HoldfastError('invalid_input', message);
