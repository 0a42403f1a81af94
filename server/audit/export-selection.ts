/**
 * The entries that fit some filters, each with its own proof, as a file that proves itself. It shows that every one of them stands in
 * the log as it is, and cannot show that none was left out: whoever needs that takes the whole log. @see LOG.md "Selection"
 */
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import type { PageMark } from '../lib/page-mark.ts';
import { findNewestCheckpoint } from './checkpoint-queries.ts';
import { makeCheckpoint, type Checkpoint, type CheckpointDeps } from './checkpoints.ts';
import { entryLine } from './entry-leaf.ts';
import { findPlaces } from './export-queries.ts';
import { findRows } from './find-rows.ts';
import type { AuditRow } from './queries.ts';
import type { AuditFilter } from './schema.ts';
import { readInclusionProofs } from './tree/stored-tree.ts';

export const SELECTION_FORMAT = 'holdfast-audit-selection/1';

/** The first line. */
export interface SelectionHeader {
  format: typeof SELECTION_FORMAT;
  /** RFC 3339. */
  madeAt: string;
  filter: AuditFilter;
}

/** Before each entry. */
export interface SelectionPlace {
  /** Null when the entry has none. */
  position: number | null;
  /** Base64: hashes back to back; null when the checkpoint does not cover the entry. */
  path: string | null;
}

/** The last line: without it the file was cut. */
export interface SelectionEnd {
  entries: number;
  /** More of them fit than a selection takes. */
  more: boolean;
}

/** A proof is some 1 KiB: 70 MiB. */
export const MOST_SELECTED = 50_000;
const ROWS_AT_ONCE = 200;

/**
 * Lines without their ends, newest entry first. The first page is found before anything is given out, so that a filter that cannot be
 * searched for is refused and not cut.
 *
 * @throws HoldfastError as `findRows` does; `wrong_state` when the log was never signed.
 */
export async function exportSelection(
  deps: CheckpointDeps,
  filter: AuditFilter,
): Promise<AsyncGenerator<string>> {
  const checkpoint = await newestCheckpoint(deps);
  const first = await findRows(deps.db, filter, { after: undefined, limit: ROWS_AT_ONCE });
  return writeSelection(deps, { filter, checkpoint, first });
}

/** A log that gets no new one is exported by its last one all the same: the export is the evidence. */
async function newestCheckpoint(deps: CheckpointDeps): Promise<Checkpoint> {
  try {
    return await makeCheckpoint(deps);
  } catch (error) {
    const last = await findNewestCheckpoint(deps.db);
    if (last === undefined) throw error;
    return last;
  }
}

interface Selection {
  filter: AuditFilter;
  checkpoint: Checkpoint;
  first: AuditRow[];
}

async function* writeSelection(
  { db, clock }: { db: Database; clock: Clock },
  { filter, checkpoint, first }: Selection,
): AsyncGenerator<string> {
  const header: SelectionHeader = { format: SELECTION_FORMAT, madeAt: clock.now().toISOString(), filter };
  yield JSON.stringify({ selection: header });
  yield JSON.stringify({ certificate: checkpoint.certificate });
  yield JSON.stringify({ checkpoint: checkpoint.note });
  let entries = 0;
  for (let rows = first; rows.length > 0;) {
    const wanted = rows.slice(0, MOST_SELECTED - entries);
    const places = await placesOf(db, wanted, checkpoint.size);
    for (const [at, row] of wanted.entries()) {
      yield JSON.stringify({ place: places[at] });
      yield entryLine(row);
    }
    entries += wanted.length;
    const last = rows.at(-1);
    if (rows.length < ROWS_AT_ONCE || wanted.length < rows.length || last === undefined) {
      yield endLine(entries, wanted.length < rows.length);
      return;
    }
    const after: PageMark = { at: last.at, id: last.number };
    rows = await findRows(db, filter, { after, limit: ROWS_AT_ONCE });
  }
  yield endLine(entries, false);
}

function endLine(entries: number, more: boolean): string {
  const end: SelectionEnd = { entries, more };
  return JSON.stringify({ end });
}

async function placesOf(db: Database, rows: readonly AuditRow[], size: number): Promise<SelectionPlace[]> {
  if (rows.length === 0) return [];
  const known = await findPlaces(
    db,
    rows.map((row) => row.number),
  );
  const positions = rows.map((row) => known.get(row.number) ?? null);
  const covered = positions.filter((position) => position !== null && position < size) as number[];
  const paths = await readInclusionProofs(db, covered, size);
  return positions.map((position) => {
    const path = position !== null && position < size ? paths.shift() : undefined;
    return { position, path: path === undefined ? null : Buffer.concat(path).toString('base64') };
  });
}
