/**
 * Reads and checks a repository's structure from the target itself, past the catalogue: the chain of heads, every index and
 * snapshot object, keys and keyring objects by their hashes, every pack by name and size, every file list and every chunk
 * that it names. `everyByte` also hashes the stored bytes of all packs, which needs no secret key; decrypting and hashing each
 * chunk is `verifyPacks` of the pipeline.
 */
import type { PackState } from '../catalogue/catalogue.ts';
import type { ReportProgress } from '../engine.ts';
import { HoldfastError, messageOf } from '../../lib/errors.ts';
import { numberedName, type ObjectReference, packName, parseKeyringName } from '../objects/object-names.ts';
import { readHead } from './find-head.ts';
import { findLivePacks } from './live-packs.ts';
import { listNumbered, sameReference } from './listing.ts';
import { isWriteOnly, readObject } from './object-store.ts';
import type { Repository } from './open-repository.ts';
import { readStoredSnapshot } from './read-snapshot.ts';
import { tryReadIndex } from './sync-catalogue.ts';

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
  /** Stored bytes of all packs, and how many of them were read. */
  packBytes: number;
  packBytesRead: number;
  /** False when no key was at hand: then only stored hashes were checked, not what is inside. */
  contentChecked: boolean;
}

interface VerifyOptions {
  everyByte: boolean;
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
  for (const warning of repository.warnings) {
    if (warning.code === 'unclaimed_object' || warning.code === 'unread_index') continue;
    for (const object of warning.objects) note(object, warning.message);
  }
  await verifyHeads(repository, note);
  await verifyKeys(repository, note);
  const contentChecked = !isWriteOnly(repository.keys);
  if (contentChecked) await verifyContent(repository, note, options);
  const packBytesRead = options.everyByte ? await hashPacks(repository, note, options) : 0;
  const { count, sizeBytes } = repository.catalogue.packStats();
  return {
    ok: problemCount === 0,
    problems,
    problemCount,
    snapshotCount: repository.snapshotReferences.length,
    packCount: count,
    packBytes: sizeBytes,
    packBytesRead,
    contentChecked,
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
    if (later && later.number === reference.number && !sameReference(later, reference)) {
      note(numberedName('heads', reference), 'The head after it names another one: someone exchanged it.');
    }
    later = head.previous;
  }
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

async function verifyContent(repository: Repository, note: Note, options: VerifyOptions): Promise<void> {
  const { target, keys } = repository;
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
      await readStoredSnapshot(target, keys, reference);
      const live = await findLivePacks(repository, new Set([reference.sha256]), { readAll: true });
      if (live.missingChunks > 0) {
        note(name, `${String(live.missingChunks)} chunks that it names are on no pack of this target.`);
      }
    } catch (error) {
      if (!isFinding(error)) throw error;
      note(name, messageOf(error));
    }
  }
}

async function hashPacks(repository: Repository, note: Note, options: VerifyOptions): Promise<number> {
  const { catalogue } = repository;
  const total = catalogue.packStats().sizeBytes;
  let done = 0;
  let count = 0;
  const changes: { row: number; state: PackState }[] = [];
  for (const pack of catalogue.packs()) {
    checkCancelled(options.signal);
    if (pack.state === 'missing') continue;
    const problem = await hashPack(repository, pack.id);
    if (problem !== undefined) note(packName(pack.id), problem);
    const state = problem === undefined ? 'present' : 'damaged';
    if (state !== pack.state) changes.push({ row: pack.row, state });
    done += pack.sizeBytes;
    count++;
    options.progress?.({
      step: 'reading packs',
      filesDone: count,
      filesTotal: undefined,
      bytesDone: done,
      bytesTotal: total,
      bytesAdded: 0,
      bytesStored: 0,
    });
  }
  // From now on the next snapshot stores again what these packs held.
  catalogue.setPackStates(changes);
  return done;
}

async function hashPack(repository: Repository, id: string): Promise<string | undefined> {
  try {
    const found = await repository.target.readBack(packName(id));
    return found.sha256 === id ? undefined : 'This pack was changed after it was written.';
  } catch (error) {
    if (!isFinding(error)) throw error;
    return messageOf(error);
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
