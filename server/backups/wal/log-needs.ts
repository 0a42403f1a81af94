/**
 * What possible moments need of the log, and of the files that were born with it: everything from the oldest retained snapshot within
 * the window on. The rest is garbage, which prune removes in its two steps.
 */
import type { SnapshotRecord } from '../engine.ts';
import type { Repository } from '../repository/open-repository.ts';
import { isClosed, isWriteOnly } from '../repository/object-store.ts';
import { listNames } from '../repository/listing.ts';
import { listBorn, readBorn } from './born-catalogue.ts';
import { baseOf } from './open-point.ts';
import type { Base } from './plan-point.ts';
import {
  bornName,
  parseWalPieceName,
  sameChain,
  WAL_PREFIX,
  walPieceName,
  type WalPieceName,
} from './wal-names.ts';

const DAY_MS = 86_400_000;
/** The log is kept no longer than this, and so is what cannot be said of any window. */
const MOST_WINDOW_DAYS = 7;

export interface LogNeeds {
  /** Names of pieces and of lists of born files that no moment within the window needs. */
  garbage: string[];
  /** Packs that lists of born files need, though no index may name them; undefined when that cannot be told here. */
  packs: ReadonlySet<string> | undefined;
}

/** What the appliance knows of its own lists, so that they need not be read; a write-only one could not. */
export interface LogKnowledge {
  windowDays: number;
  /** For the head: the newest piece that is on the target, and how far it goes; null for none. */
  position: { piece: [number, string]; to: string; completeAt: string } | null;
  /** Packs of the list with this hash; undefined when it is not known. */
  packsOf(sha256: string): readonly string[] | undefined;
  /** Called with the objects that are not on the target any more. */
  removed(names: readonly string[]): void;
}

/** What of a snapshot counts here: little, so that any number of them can be held. */
export interface LogSnapshot {
  takenAtMs: number;
  bases: Base[];
  /** Number up to which it has the files that were born. */
  bornFiles: number;
}

export function logSnapshotOf(snapshot: SnapshotRecord): LogSnapshot {
  return {
    takenAtMs: Date.parse(snapshot.takenAt),
    bases: baseOf(snapshot),
    bornFiles: (snapshot.facts as { bornFiles?: number }).bornFiles ?? 0,
  };
}

export async function findLogNeeds(
  repository: Repository,
  snapshots: readonly LogSnapshot[],
  now: Date,
  knowledge: LogKnowledge | undefined,
): Promise<LogNeeds> {
  const windowDays = knowledge?.windowDays ?? MOST_WINDOW_DAYS;
  const oldest = now.getTime() - windowDays * DAY_MS;
  const within = snapshots.filter((snapshot) => snapshot.takenAtMs >= oldest);
  const pieces = (await listNames(repository.target, WAL_PREFIX))
    .map(parseWalPieceName)
    .filter((piece) => piece !== undefined);
  const needed = new Set(
    neededPieces(
      pieces,
      within.flatMap((snapshot) => snapshot.bases),
    ),
  );
  const garbage = pieces.filter((piece) => !needed.has(piece)).map(walPieceName);
  const after = Math.min(...within.map((snapshot) => snapshot.bornFiles));
  const packs = new Set<string>();
  let known = true;
  for (const reference of await listBorn(repository.target)) {
    if (!(reference.number > after)) {
      garbage.push(bornName(reference));
      continue;
    }
    const told = knowledge?.packsOf(reference.sha256) ?? (await packsOnTarget(repository, reference));
    if (told === undefined) known = false;
    for (const id of told ?? []) packs.add(id);
  }
  return { garbage, packs: known ? packs : undefined };
}

/** Without a snapshot in its chain a piece restores nothing, whenever it was shipped. The newest of a chain shows how far it is. Pure. */
export function neededPieces(pieces: readonly WalPieceName[], bases: readonly Base[]): WalPieceName[] {
  const sorted = [...pieces].sort((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0));
  return sorted.filter((piece) => {
    const ends = bases.filter((base) => sameChain(base, piece)).map((base) => base.endLsn);
    return ends.some((end) => piece.to > end);
  });
}

async function packsOnTarget(
  repository: Repository,
  reference: Parameters<typeof readBorn>[2],
): Promise<string[] | undefined> {
  if (isWriteOnly(repository.keys)) return undefined;
  try {
    const born = await readBorn(repository.target, repository.keys, reference);
    return born.packs.map((pack) => pack.id);
  } catch (error) {
    if (isClosed(error, repository.keys)) return undefined;
    throw error;
  }
}
