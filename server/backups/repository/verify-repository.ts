/**
 * Reads and checks a repository's structure from the target itself, past the catalogue: the chain of heads, every index and
 * snapshot object, keys and keyring objects by their hashes, every pack by name and size, every file list and every chunk
 * that it names. `everyByte` also hashes the stored bytes of all packs, which needs no secret key; decrypting and hashing each
 * chunk is `verifyPacks` of the pipeline. Without keys, or with a part of them, the rest is compared with its stored hashes alone.
 */
import type { ReportProgress } from '../engine.ts';
import { HoldfastError, messageOf } from '../../lib/errors.ts';
import { numberedName, type ObjectReference, packName, parseKeyringName } from '../objects/object-names.ts';
import { hashInName } from './hash-in-name.ts';
import { readHead } from './find-head.ts';
import { findLivePacks } from './live-packs.ts';
import { listNumbered, sameReference } from './listing.ts';
import { isClosed, isWriteOnly, lacksKeys, readObject } from './object-store.ts';
import { verifyPacks, type PackToVerify } from '../pipeline/verify-packs.ts';
import { verifyLog } from '../wal/verify-log.ts';
import type { Repository } from './open-repository.ts';
import { readStoredSnapshot } from './read-snapshot.ts';
import { tryReadIndex } from './sync-catalogue.ts';
import { verifyUnindexed } from './verify-unindexed.ts';

interface VerifyProblem {
  /** Name of the object. */
  object: string;
  /** Plain words. */
  message: string;
}

export interface VerifyReport {
  ok: boolean;
  problems: VerifyProblem[];
  /** More problems than are listed. */
  problemCount: number;
  snapshotCount: number;
  packCount: number;
  /** Packs that an index names and whose bytes were read; with a part, of that part. */
  packsRead: number;
  /** Stored bytes of all packs, and how many of them were read; with a part, of that part. */
  packBytes: number;
  packBytesRead: number;
  /** Packs that no index names yet, as those of new files, and how many of their bytes were read; with a part, of that part. */
  unindexedPacks: number;
  unindexedBytesRead: number;
  /** False when there was not a key to all of it: of the rest only stored hashes were checked, not what is inside. */
  contentChecked: boolean;
  /** Retained snapshots of that rest: their file lists are as the catalogue knows them. */
  closedSnapshots: number;
  /** Names of damaged objects that no catalogue remembers: to be given to the next part, as `again`. */
  readAgain: string[];
}

/** One of several parts of the packs, told apart by their hashes: together they are all of them. */
export interface VerifyPart {
  /** From 0. */
  number: number;
  of: number;
}

interface VerifyOptions {
  everyByte: boolean;
  /** Reads only the packs and pieces of the log of this part, and packs that are known to be damaged; everything else is checked whole. */
  part?: VerifyPart;
  /** Objects of the log that an earlier part found damaged: read with this one, too. */
  again?: ReadonlySet<string>;
  /** Pieces of the log that must be there; told by each part. */
  shipped?: readonly string[];
  signal?: AbortSignal;
  progress?: ReportProgress;
}

const MAX_PROBLEMS = 1000;

/** @throws cancelled, unavailable. What is wrong with the repository is the result, not an error. */
export async function verifyRepository(
  repository: Repository,
  options: VerifyOptions,
): Promise<VerifyReport> {
  const problems: VerifyProblem[] = [];
  let problemCount = 0;
  const note = (object: string, message: string): void => {
    problemCount++;
    if (problems.length < MAX_PROBLEMS) problems.push({ object, message });
  };
  const damaged = [...repository.catalogue.packs()].filter((pack) => pack.state === 'damaged');
  const damagedNames = new Set(damaged.map((pack) => packName(pack.id)));
  for (const warning of repository.warnings) {
    if (warning.code === 'unclaimed_object' || warning.code === 'unread_index') continue;
    // Those that are known to be damaged are read again below.
    const again = warning.code === 'missing_pack' && options.everyByte ? damagedNames : undefined;
    for (const object of warning.objects) if (again?.has(object) !== true) note(object, warning.message);
  }
  await verifyHeads(repository, note);
  await verifyAgainstReports(repository, note);
  await verifyKeys(repository, note);
  // First, so that what was mended meanwhile counts for the snapshots; damage that another part found stays a finding.
  const ofPart = (pack: ListedPack) => isIn(pack.id, options.part);
  let packBytesRead = await readPacks(repository, note, damaged.filter(ofPart), options);
  await readPacks(
    repository,
    note,
    damaged.filter((pack) => !ofPart(pack)),
    options,
  );
  const closedSnapshots = await verifyContent(repository, note, options);
  const read = new Set(damaged.map((pack) => pack.id));
  const others = [...repository.catalogue.packs()].filter(
    (pack) => pack.state !== 'missing' && !read.has(pack.id) && ofPart(pack),
  );
  packBytesRead += await readPacks(repository, note, others, options);
  const packsRead = options.everyByte ? damaged.filter(ofPart).length + others.length : 0;
  const besides = await readUnlisted(repository, note, options);
  const { count, sizeBytes } = repository.catalogue.packStats();
  return {
    ok: problemCount === 0,
    problems,
    problemCount,
    snapshotCount: repository.snapshotReferences.length,
    packCount: count,
    packsRead,
    packBytes: sizeBytes,
    packBytesRead,
    closedSnapshots,
    contentChecked: !lacksKeys(repository.keys),
    ...besides,
  };
}

type Note = (object: string, message: string) => void;

/** Every head that is still kept must name the one before it. */
async function verifyHeads(repository: Repository, note: Note): Promise<void> {
  const { target, keys } = repository;
  let later: ObjectReference | null | undefined;
  for (const reference of (await listNumbered(target, 'heads')).toReversed()) {
    if (repository.headReference && reference.number > repository.headReference.number) continue;
    const head = await readHead(target, keys, reference);
    if (head === undefined) {
      note(numberedName('heads', reference), 'This head is damaged, or was not signed by this appliance.');
      continue;
    }
    if (later?.number === reference.number && !sameReference(later, reference)) {
      note(numberedName('heads', reference), 'The head after it names another one: someone exchanged it.');
    }
    later = head.previous;
  }
}

/** A report is signed with the number of the head it was written under: one above the newest head proves that heads are gone. */
async function verifyAgainstReports(repository: Repository, note: Note): Promise<void> {
  if (isWriteOnly(repository.keys)) return;
  const newest = repository.head?.number ?? 0;
  let highest = newest;
  for await (const report of repository.reports()) highest = Math.max(highest, report.head);
  if (highest === newest) return;
  note(
    'heads/',
    `A signed report says that head ${String(highest)} was here, and the newest is ${String(newest)}: newer heads were taken away, or an older state was put back.`,
  );
}

async function verifyKeys(repository: Repository, note: Note): Promise<void> {
  const { target } = repository;
  const check = async (kind: 'keys' | 'keyring', name: string, sha256: string | undefined): Promise<void> => {
    try {
      await readObject(target, kind, name, sha256);
    } catch (error) {
      if (!isFinding(error)) throw error;
      note(name, messageOf(error));
    }
  };
  for (const reference of await listNumbered(target, 'keys')) {
    await check('keys', numberedName('keys', reference), reference.sha256);
  }
  for (const name of repository.keyringObjects())
    await check('keyring', name, parseKeyringName(name)?.sha256);
}

/** What no key at hand opens has its stored hash compared, and its chunks counted by the catalogue. @returns how many snapshots these are. */
async function verifyContent(repository: Repository, note: Note, options: VerifyOptions): Promise<number> {
  const { target, keys } = repository;
  let closed = 0;
  for (const reference of repository.head?.indexes ?? []) {
    checkCancelled(options.signal);
    const read = await tryReadIndex(target, keys, reference);
    if (read === 'damaged')
      note(numberedName('index', reference), 'This index object is missing or damaged.');
  }
  for (const reference of repository.snapshotReferences) {
    checkCancelled(options.signal);
    const name = numberedName('snapshots', reference);
    try {
      const opened = await readStoredSnapshot(target, keys, reference).catch((error: unknown) => {
        if (isClosed(error, keys)) return undefined;
        throw error;
      });
      if (opened === undefined) closed++;
      const live = await findLivePacks(repository, [reference], { readAll: opened !== undefined });
      if (live.missingChunks > 0) {
        note(name, `${String(live.missingChunks)} chunks that it names are on no pack of this target.`);
      }
    } catch (error) {
      // A catalogue that was lost: what it named cannot be told, and that is no damage.
      if (isClosed(error, keys)) continue;
      if (!isFinding(error)) throw error;
      note(name, messageOf(error));
    }
  }
  return closed;
}

/** The log, and packs that no index names yet: nothing but the target's listing tells of them, and what is known to have been shipped. */
async function readUnlisted(
  repository: Repository,
  note: Note,
  options: VerifyOptions,
): Promise<Pick<VerifyReport, 'readAgain' | 'unindexedPacks' | 'unindexedBytesRead'>> {
  if (!options.everyByte) return { readAgain: [], unindexedPacks: 0, unindexedBytesRead: 0 };
  const again = new Set([...(options.again ?? [])].map(hashInName));
  const damaged = new Set<string>();
  const noteBoth: Note = (object, message) => {
    if (damaged.size < MAX_PROBLEMS) damaged.add(object);
    note(object, message);
  };
  const { signal, part } = options;
  const wants = (sha256: string): boolean => isIn(sha256, part) || again.has(sha256);
  const { packs, bytesRead } = await verifyUnindexed(repository, noteBoth, { signal, wants });
  const shipped = options.shipped ?? [];
  await verifyLog(repository, noteBoth, { signal, wants, shipped, noteMissing: note });
  return { readAgain: [...damaged], unindexedPacks: packs, unindexedBytesRead: bytesRead };
}

type ListedPack = ReturnType<Repository['catalogue']['packs']> extends Iterable<infer Pack> ? Pack : never;

/** Reads every byte of these packs: its hash, and, where a key is at hand, each chunk against its id. @returns bytes read. */
async function readPacks(
  repository: Repository,
  note: Note,
  known: readonly ListedPack[],
  options: VerifyOptions,
): Promise<number> {
  if (!options.everyByte || known.length === 0) return 0;
  const { catalogue, keys, target } = repository;
  const total = known.reduce((sum, pack) => sum + pack.sizeBytes, 0);
  const report = await verifyPacks({
    target: target.config,
    generations: keys.generations,
    packs: packsToVerify(
      repository,
      known.map((pack) => pack.row),
    ),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    progress: (progress) => options.progress?.({ ...progress, bytesTotal: total }),
  });
  const damaged = new Set(report.problems.map((problem) => problem.packId));
  for (const { packId, reason } of report.problems) note(packName(packId), reason);
  // From now on the next snapshot stores again what these packs held.
  catalogue.setPackStates(
    known
      .map((pack) => ({ ...pack, found: damaged.has(pack.id) ? ('damaged' as const) : ('present' as const) }))
      .filter((pack) => pack.found !== pack.state)
      .map(({ row, found }) => ({ row, state: found })),
  );
  return report.bytesRead;
}

function isIn(sha256: string, part: VerifyPart | undefined): boolean {
  return part === undefined || Number.parseInt(sha256.slice(0, 8), 16) % part.of === part.number;
}

function* packsToVerify(repository: Repository, rows: readonly number[]): Iterable<PackToVerify> {
  for (const row of rows) {
    const pack = repository.catalogue.pack(row);
    if (pack === undefined) continue;
    const { id, sizeBytes, headerLength, generation, chunks } = pack;
    yield { packId: id, packSizeBytes: sizeBytes, headerLength, generation, chunks };
  }
}

function isFinding(error: unknown): boolean {
  return (
    error instanceof HoldfastError && ['not_found', 'integrity_failure', 'wrong_key'].includes(error.code)
  );
}

function checkCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new HoldfastError('cancelled', 'The check was stopped');
}
