/**
 * Removal in two phases. First a signed index without the packs is published, with a mark that says since when each object
 * is not needed; from then on nothing new refers to them. Only after a day and the longest run, and after looking through
 * every retained snapshot again, are they deleted. A reader that began before has that long to finish.
 *
 * The same wait holds for everything else that nothing names any more: packs and index objects of runs that were cut off,
 * forgotten snapshots, superseded index and keyring objects, and the log beyond its window. Whole packs are removed, none is rewritten, so this works
 * without any secret key.
 */
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { WrittenPack } from '../engine.ts';
import { MAX_INDEX_CHUNKS, type RemovalMark } from '../objects/index-object.ts';
import {
  numberedName,
  type ObjectReference,
  packName,
  parseKeyringName,
  parsePackName,
} from '../objects/object-names.ts';
import { findLivePacks, type LivePacks } from './live-packs.ts';
import { listNames, listNumbered, listPacks, sameReference } from './listing.ts';
import { lacksKeys } from './object-store.ts';
import type { Repository } from './open-repository.ts';
import { findLogNeeds, logSnapshotOf, type LogSnapshot } from '../wal/log-needs.ts';
import { readSnapshot } from './read-snapshot.ts';
import { keyOf } from './sync-catalogue.ts';
import { publishHead, publishIndexObject, type WriterState } from './writer-state.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
/** Heads older than this many are not kept. */
const KEPT_HEADS = 64;
/** Index objects with fewer chunks than this are merged when there are several. */
const SMALL_INDEX_CHUNKS = 10_000;
const MANY_SMALL_INDEXES = 8;

export interface PruneReport {
  /** Objects deleted now, and the bytes of the packs among them. */
  deletedObjects: number;
  deletedBytes: number;
  /** Objects marked now, to be deleted by a later prune. */
  markedObjects: number;
  markedBytes: number;
  /** Objects that wait, marked now or before. */
  waitingObjects: number;
  /** When the oldest of them may go, RFC 3339. */
  nextAt: string | undefined;
  /** Objects that were due and that the target keeps locked, and the bytes of the packs among them. */
  lockedObjects: number;
  lockedBytes: number;
  /** When the last of these locks ends, RFC 3339; undefined where the target does not say. */
  lockedUntil: string | undefined;
  /** Chunks that retained snapshots name and no pack on the target has. Not zero: run verify. */
  missingChunks: number;
}

export interface PruneOptions {
  /** Looked at between deletions: those that are left wait for the next prune. */
  signal?: AbortSignal;
  /** Told of each deletion. */
  progress?: (done: number, total: number) => void;
}

/**
 * @throws wrong_state when the clock cannot be believed; wrong_key when the catalogue was lost and no key is at hand to
 *   rebuild it; locked.
 */
export async function prune(state: WriterState, options: PruneOptions = {}): Promise<PruneReport> {
  const { repository } = state;
  const now = await state.guard.check(repository.target);
  checkComplete(repository);
  const live = await findLivePacks(repository, state.snapshots);
  // Readers go by heads: as long as none knew of a removal, its day has not begun, and what the newest names must stay.
  const marks = state.removalAdopted ? [] : repository.catalogue.removals();
  const garbage = await findGarbage(state, live, now);
  const waitMs = DAY_MS + state.longestRunMs;
  const isDue = (mark: RemovalMark) => now.getTime() - Date.parse(mark.since) >= waitMs;
  const due = marks.filter((mark) => isDue(mark) && garbage.listed.has(mark.name));
  const { gone, ...deleted } = await deleteObjects(state, due, { sizes: garbage.listed, now, ...options });

  state.log?.removed([...gone]);

  const kept = marks.filter((mark) => garbage.listed.has(mark.name) && !gone.has(mark.name));
  const marked = new Set(kept.map((mark) => mark.name));
  const fresh = [...garbage.listed.keys(), ...garbage.indexed.keys()].filter(
    (name) => !marked.has(name) && !gone.has(name),
  );
  const since = now.toISOString();
  const waiting = [...kept, ...fresh.map((name) => ({ name, since, head: state.highestHead }))];
  await rewriteIndexes(state, { waiting, freshMarks: fresh.length > 0, dropped: garbage.indexed, since });
  await deleteOldHeads(state);
  repository.catalogue.sweepSegments((segment) => live.segments.has(segment));
  const oldest = waiting.reduce<string | undefined>(
    (min, mark) => (min === undefined || mark.since < min ? mark.since : min),
    undefined,
  );
  return {
    ...deleted,
    markedObjects: fresh.length,
    markedBytes: fresh.reduce((sum, name) => sum + sizeOf(name, garbage), 0),
    waitingObjects: waiting.length,
    nextAt: oldest && new Date(Date.parse(oldest) + waitMs).toISOString(),
    missingChunks: live.missingChunks,
  };
}

function checkComplete(repository: Repository): void {
  if (repository.unreadIndexes.length === 0) return;
  if (lacksKeys(repository.keys)) {
    throw new HoldfastError('needs_kit', 'The catalogue is not complete, so nothing is removed', {
      hint: 'Give the recovery kit once: the catalogue is rebuilt with it.',
    });
  }
  throw new HoldfastError(
    'integrity_failure',
    'Index objects are missing or damaged, so nothing is removed',
    {
      hint: 'Run verify. Take a new snapshot; it stores again what the lost index listed.',
      detail: repository.unreadIndexes.map((one) => numberedName('index', one)).join(', '),
    },
  );
}

interface Garbage {
  /** Objects on the target that nothing names, with their sizes (packs) or 0. */
  listed: Map<string, number>;
  /** Packs that an index still names and no snapshot needs, with their sizes. */
  indexed: Map<string, number>;
}

function sizeOf(name: string, garbage: Garbage): number {
  return garbage.listed.get(name) ?? garbage.indexed.get(name) ?? 0;
}

async function findGarbage(state: WriterState, live: LivePacks, now: Date): Promise<Garbage> {
  const { target, keys, catalogue } = state.repository;
  const listed = new Map<string, number>();
  const indexed = new Map<string, number>();
  const indexedIds = new Set<string>();
  const retained: LogSnapshot[] = [];
  for (const one of state.snapshots) {
    retained.push(logSnapshotOf(await readSnapshot(target, keys, catalogue, one)));
  }
  const log = await findLogNeeds(state.repository, retained, now, state.log);
  for (const pack of catalogue.packs()) {
    indexedIds.add(pack.id);
    if (live.packs.has(pack.row) || log.packs?.has(pack.id) === true) continue;
    // A missing pack may come back with its disk; it stays in the index as long as some chunk is nowhere else.
    if (pack.state !== 'missing' || live.missingChunks === 0) indexed.set(packName(pack.id), pack.sizeBytes);
  }
  // While a retained snapshot names chunks that nothing here has, they may be in a pack, or be listed in an index, that only seems
  // to be nobody's.
  const complete = live.missingChunks === 0;
  for (const [id, sizeBytes] of complete ? await listPacks(target) : []) {
    // Where lists of born files cannot be read, any pack that no index names may be one of theirs.
    if (!indexedIds.has(id) && log.packs?.has(id) === false) listed.set(packName(id), sizeBytes);
  }
  for (const name of log.garbage) listed.set(name, 0);
  for (const kind of complete ? (['snapshots', 'index'] as const) : (['snapshots'] as const)) {
    const counted = new Set((kind === 'index' ? state.indexes : state.snapshots).map(keyOf));
    for (const reference of await listNumbered(target, kind)) {
      if (!counted.has(keyOf(reference))) listed.set(numberedName(kind, reference), 0);
    }
  }
  // Only what a newer epoch replaced: an object that is newer than the head's may be all there is of some keys.
  const epoch = Number(state.keyring?.epoch ?? 0);
  for (const name of await listNames(target, 'keyring/')) {
    if ((parseKeyringName(name)?.epoch ?? epoch) < epoch) listed.set(name, 0);
  }
  return { listed, indexed };
}

async function deleteObjects(
  state: WriterState,
  due: readonly RemovalMark[],
  { sizes, now, signal, progress }: PruneOptions & { sizes: ReadonlyMap<string, number>; now: Date },
) {
  const { target, catalogue } = state.repository;
  const gone = new Set<string>();
  const locked = new Set<string>();
  let until: Date | undefined;
  for (const { name } of due) {
    if (signal?.aborted === true) break;
    await state.claim.check();
    const known = catalogue.lockOf(name);
    // Asked for again only when its lock is over: there may be many.
    const held = known !== undefined && known > now ? { until: known } : await target.delete(name);
    if (held === undefined) gone.add(name);
    else {
      locked.add(name);
      if (held.until !== undefined) catalogue.noteLock(name, held.until);
      if (held.until !== undefined && (until === undefined || held.until > until)) until = held.until;
    }
    crashPoint('backups.prune.deleted');
    progress?.(gone.size + locked.size, due.length);
  }
  const bytesOf = (names: ReadonlySet<string>) =>
    [...names].reduce(
      (sum, name) => sum + (parsePackName(name) === undefined ? 0 : (sizes.get(name) ?? 0)),
      0,
    );
  return {
    gone,
    ...{ deletedObjects: gone.size, deletedBytes: bytesOf(gone) },
    ...{ lockedObjects: locked.size, lockedBytes: bytesOf(locked), lockedUntil: until?.toISOString() },
  };
}

interface Rewrite {
  waiting: RemovalMark[];
  /** True when there are marks that no index object carries yet. */
  freshMarks: boolean;
  dropped: ReadonlyMap<string, number>;
  since: string;
}

/**
 * Replaces the index objects that list dropped packs, small ones when there are many, and the one that carries the marks. A
 * mark of an object that is gone already is harmless and stays until then, or every prune would cause the next.
 */
async function rewriteIndexes(state: WriterState, rewrite: Rewrite): Promise<void> {
  const { catalogue } = state.repository;
  const affected = indexesToReplace(state, rewrite.dropped);
  if (affected.size === 0 && !rewrite.freshMarks) return;
  for (const carrier of catalogue.indexesWithRemovals()) affected.add(keyOf(carrier));
  const old = state.indexes.filter((one) => affected.has(keyOf(one)));
  const supersedes = old.map((one) => numberedName('index', one));
  // The replaced index objects wait like everything else, and are marked in the same breath.
  const removals = [
    ...rewrite.waiting,
    ...supersedes.map((name) => ({ name, since: rewrite.since, head: state.highestHead })),
  ];
  const kept = state.indexes.filter((one) => !affected.has(keyOf(one)));
  const made: ObjectReference[] = [];
  for (const packs of packGroups(state, affected, rewrite.dropped)) {
    made.push(await publishIndexObject(state, { packs, supersedes, removals: [] }));
  }
  made.push(await publishIndexObject(state, { packs: [], supersedes, removals }));
  state.indexes = [...kept, ...made];
  crashPoint('backups.prune.indexed');
  await publishHead(state);
  for (const reference of old) catalogue.dropIndex(reference);
}

/** Keys of index objects that list dropped packs, or are small and many. */
function indexesToReplace(state: WriterState, dropped: ReadonlyMap<string, number>): Set<string> {
  const chunkCounts = new Map<string, number>();
  const replace = new Set<string>();
  for (const pack of state.repository.catalogue.packs()) {
    const key = keyOf(pack.index);
    chunkCounts.set(key, (chunkCounts.get(key) ?? 0) + pack.chunkCount);
    if (dropped.has(packName(pack.id))) replace.add(key);
  }
  const small = state.indexes.filter((one) => {
    const chunks = chunkCounts.get(keyOf(one)) ?? 0;
    return chunks > 0 && chunks < SMALL_INDEX_CHUNKS;
  });
  if (small.length > MANY_SMALL_INDEXES) for (const one of small) replace.add(keyOf(one));
  return replace;
}

/** Packs of the replaced index objects that stay, in groups that fit one object each. */
function* packGroups(
  state: WriterState,
  oldKeys: ReadonlySet<string>,
  dropped: ReadonlyMap<string, number>,
): Iterable<WrittenPack[]> {
  const { catalogue } = state.repository;
  let group: WrittenPack[] = [];
  let count = 0;
  const summaries = [...catalogue.packs()].filter((pack) => oldKeys.has(keyOf(pack.index)));
  for (const summary of summaries) {
    if (dropped.has(packName(summary.id))) continue;
    if (count + summary.chunkCount > MAX_INDEX_CHUNKS && group.length > 0) {
      yield group;
      group = [];
      count = 0;
    }
    const pack = catalogue.pack(summary.row);
    if (pack === undefined) continue;
    group.push(pack);
    count += summary.chunkCount;
  }
  if (group.length > 0) yield group;
}

async function deleteOldHeads(state: WriterState): Promise<void> {
  const { target } = state.repository;
  const heads = await listNumbered(target, 'heads');
  for (const reference of heads) {
    if (reference.number > state.highestHead - KEPT_HEADS) continue;
    if (state.lastHead !== null && sameReference(reference, state.lastHead)) continue;
    await state.claim.check();
    await target.delete(numberedName('heads', reference));
  }
}

/** For the log of a run. */
export function tellLocked({ lockedObjects, lockedUntil }: PruneReport): string {
  const until = lockedUntil === undefined ? 'for a time that it does not tell' : `until ${lockedUntil}`;
  return `${lockedObjects} objects are held by the lock of the target ${until}; they go with a later prune`;
}
