/**
 * The log as a file that proves itself: entries exactly as they were hashed, the hashes that are stored of them, and every signed
 * checkpoint behind the last entry that it covers. Written line by line in constant memory; what is missing in the database is left
 * out, so that a damaged log can still be exported, and its export shows the damage. @see LOG.md "Export"
 */
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { perfectNodesOf } from '../lib/merkle/tree-shape.ts';
import { entryLine } from './entry-leaf.ts';
import {
  findCheckpointBefore,
  listCertificates,
  listNotes,
  listPlacedEntries,
  type PlacedEntry,
  type StoredNote,
} from './export-queries.ts';
import { readNodes, TILE_WIDTH, treeSize } from './tree/stored-tree.ts';

export const EXPORT_FORMAT = 'holdfast-audit-export/1';

/** The first line. */
export interface ExportHeader {
  format: typeof EXPORT_FORMAT;
  /** RFC 3339. */
  madeAt: string;
  /** Position of the first entry. */
  from: number;
  /** How many entries the log had then, those before `from` included. */
  size: number;
  /** Base64: roots of the perfect subtrees before `from`, the leftmost first. */
  frontier: string[];
}

/** The last line: without it the file was cut. */
export interface ExportEnd {
  entries: number;
  checkpoints: number;
}

interface ExportOptions {
  /** Leaves out what was covered by the last checkpoint before this instant. */
  since?: Date | undefined;
}

/** Four tiles at a time: some 500 KiB. */
const ENTRIES_AT_ONCE = 4 * TILE_WIDTH;
const NOTES_AT_ONCE = 500;

/** Lines without their ends. */
export async function* exportLog(
  { db, clock }: { db: Database; clock: Clock },
  options: ExportOptions = {},
): AsyncGenerator<string> {
  const start = options.since === undefined ? undefined : await findCheckpointBefore(db, options.since);
  const size = await treeSize(db);
  const from = Math.min(start?.size ?? 0, size);
  const frontier = await readNodes(db, perfectNodesOf({ from: 0, to: from }));
  const header: ExportHeader = {
    format: EXPORT_FORMAT,
    madeAt: clock.now().toISOString(),
    from,
    size,
    frontier: frontier.map((hash) => hash.toString('base64')),
  };
  yield JSON.stringify({ export: header });
  for (const certificate of await listCertificates(db)) yield JSON.stringify({ certificate });
  // The one at the start speaks for what is left out.
  const notes = readNotes(db, start === undefined ? '0' : String(BigInt(start.number) - 1n));
  let entries = 0;
  let checkpoints = 0;
  for (let at = from; at < size; at += ENTRIES_AT_ONCE - (at % ENTRIES_AT_ONCE)) {
    const to = Math.min(size, at + ENTRIES_AT_ONCE - (at % ENTRIES_AT_ONCE));
    const places = await listPlacedEntries(db, { from: at, to });
    for (const part of await cutAtNotes(places, notes)) {
      checkpoints += part.notes.length;
      for (const { note } of part.notes) yield JSON.stringify({ checkpoint: note });
      for (const run of cutIntoTiles(part.places)) {
        yield tileLine(run);
        for (const { entry, stub } of run) {
          if (entry !== null) yield entryLine(entry);
          else if (stub !== null) yield JSON.stringify({ expired: stub });
          else continue;
          entries += 1;
        }
      }
    }
  }
  for await (const { note } of notes.rest()) {
    checkpoints += 1;
    yield JSON.stringify({ checkpoint: note });
  }
  const end: ExportEnd = { entries, checkpoints };
  yield JSON.stringify({ end });
}

interface ExportPart {
  notes: StoredNote[];
  places: PlacedEntry[];
}

/** Checkpoints stand before the first entry that they do not cover. */
async function cutAtNotes(places: readonly PlacedEntry[], notes: NoteReader): Promise<ExportPart[]> {
  const parts: ExportPart[] = [{ notes: [], places: [] }];
  for (const place of places) {
    if (notes.mayCover(place.position)) {
      const found = await notes.takeUpTo(place.position);
      if (found.length > 0) parts.push({ notes: found, places: [] });
    }
    parts.at(-1)?.places.push(place);
  }
  return parts;
}

/** Runs of places side by side, none across the edge of a tile. */
function cutIntoTiles(places: readonly PlacedEntry[]): PlacedEntry[][] {
  const runs: PlacedEntry[][] = [];
  for (const place of places) {
    const run = runs.at(-1);
    const before = run?.at(-1)?.position;
    if (run !== undefined && before === place.position - 1 && place.position % TILE_WIDTH !== 0)
      run.push(place);
    else runs.push([place]);
  }
  return runs;
}

function tileLine(run: readonly PlacedEntry[]): string {
  const hashes = Buffer.concat(run.map(({ hash }) => hash)).toString('base64');
  return JSON.stringify({ tile: { position: run[0]?.position ?? 0, hashes } });
}

interface NoteReader {
  /** False when the next one covers more than that. */
  mayCover(size: number): boolean;
  /** The next ones, as long as they cover no more than `size` entries. */
  takeUpTo(size: number): Promise<StoredNote[]>;
  rest(): AsyncGenerator<StoredNote>;
}

function readNotes(db: Database, after: string): NoteReader {
  let last = after;
  let ready: StoredNote[] = [];
  let more = true;
  const fill = async () => {
    if (ready.length > 0 || !more) return;
    ready = await listNotes(db, last, NOTES_AT_ONCE);
    more = ready.length === NOTES_AT_ONCE;
    last = ready.at(-1)?.number ?? last;
  };
  return {
    mayCover: (size) => (ready[0]?.size ?? (more ? 0 : Infinity)) <= size,
    async takeUpTo(size) {
      const taken: StoredNote[] = [];
      for (;;) {
        await fill();
        const [next] = ready;
        if (next === undefined || next.size > size) return taken;
        taken.push(next);
        ready.shift();
      }
    },
    async *rest() {
      for (;;) {
        await fill();
        const next = ready.shift();
        if (next === undefined) return;
        yield next;
      }
    },
  };
}
