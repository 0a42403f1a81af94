/**
 * A batch of an import: files are read and sealed side by side, published together, and named in one transaction.
 * Guarantees: a file of the batch is there whole or not at all; a crash loses at most the batches that were under way.
 */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import type { Actor } from '../audit/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { explainWriteError } from '../lib/files.ts';
import type { WorkspaceDeps } from './deps.ts';
import { SEGMENT_BYTES } from './file-format.ts';
import { stageContent } from './file-store.ts';
import type { DirectoryEntry } from './read-directory.ts';
import { sealFile } from './seal-file.ts';
import type { SealThreads } from './seal-threads.ts';
import { SNIFF_BYTES, sniffMediaType } from './sniff.ts';
import {
  nameFiles,
  sealAndPublish,
  sealOf,
  sumSizes,
  type FilePlace,
  type PlannedFile,
  type SealedFile,
} from './store-batch.ts';
import { skipReason, type Tally } from './transfer-report.ts';

/** A file to take in: new, or instead of what an existing node holds. */
export interface FileTask extends FilePlace {
  entry: DirectoryEntry;
}

type PlannedTask = FileTask & PlannedFile;
type SealedTask = FileTask & SealedFile;

const CHANGED = 'it changed while it was read';

/**
 * Reads, seals and makes durable; what cannot be read goes to the tally.
 *
 * @throws no_space, space_reserved, cancelled; nothing of the batch is left then.
 */
export async function sealBatch(
  deps: WorkspaceDeps,
  threads: SealThreads,
  tasks: readonly FileTask[],
  tally: Tally,
): Promise<SealedTask[]> {
  const bytes = tasks.reduce((total, { entry }) => total + entry.sizeBytes, 0);
  return sealAndPublish(deps, tasks, bytes, async (planned) => {
    const isSmall = ({ entry }: PlannedTask) => entry.sizeBytes < SEGMENT_BYTES;
    const sealed = await sealSmall(threads, planned.filter(isSmall), tally);
    for (const task of planned.filter((one) => !isSmall(one))) {
      tally.tick();
      const result = await sealLarge(task, tally);
      if (result !== undefined) sealed.push(result);
    }
    return sealed;
  });
}

/** Names the files of a batch in one transaction, with one audit entry. */
export async function commitBatch(
  deps: WorkspaceDeps,
  sealed: readonly SealedTask[],
  importedTo: string,
  actor: Actor,
  tally: Tally,
): Promise<void> {
  if (sealed.length === 0) return;
  const lost = await nameFiles(deps, sealed, {
    visitor: 'appliance',
    actor,
    action: 'workspaces.files.imported',
    topFolderId: importedTo,
  });
  crashPoint('workspaces.import.committed');
  for (const task of lost) {
    tally.skip(task.entry.shown, 'something of this name was added or changed meanwhile');
  }
  const stored = sealed.filter((task) => !lost.has(task));
  tally.report.files += stored.filter(({ version }) => version === 1).length;
  tally.report.replaced += stored.filter(({ version }) => version > 1).length;
  tally.report.bytes += sumSizes(stored);
  tally.tick();
}

async function sealSmall(
  threads: SealThreads,
  tasks: readonly PlannedTask[],
  tally: Tally,
): Promise<SealedTask[]> {
  const jobs = tasks.map((task) => ({
    path: task.entry.path,
    temporaryPath: task.staged.temporaryPath,
    seal: sealOf(task),
  }));
  const results = await threads.seal(jobs, () => tally.tick());
  return tasks.flatMap((task, index) => {
    const result = results[index];
    if (result?.kind === 'sealed') return [{ ...task, ...result }];
    if (result?.kind === 'failed') skipOrThrow(task, result, tally);
    else tally.skip(task.entry.shown, CHANGED);
    return [];
  });
}

function skipOrThrow(task: FileTask, failure: { where: string; code: string }, tally: Tally): void {
  const error = Object.assign(new Error(failure.code), { code: failure.code });
  const reason = failure.where === 'source' ? skipReason(error) : undefined;
  if (reason === undefined) throw explainWriteError(error, 'the file store');
  tally.skip(task.entry.shown, reason);
}

async function sealLarge(task: PlannedTask, tally: Tally): Promise<SealedTask | undefined> {
  const skip = (reason: string): undefined => {
    tally.skip(task.entry.shown, reason);
  };
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let handle: FileHandle | undefined;
  try {
    handle = await open(task.entry.path, flags);
    const before = await handle.stat({ bigint: true });
    if (!before.isFile()) return skip('it is no file any more');
    const start = Buffer.alloc(SNIFF_BYTES);
    await handle.read(start, 0, SNIFF_BYTES, 0);
    const staged = await stageContent(task.staged);
    try {
      const facts = await sealFile(readChunks(handle, tally), sealOf(task), staged.write);
      const after = await handle.stat({ bigint: true });
      const same = after.mtimeNs === before.mtimeNs && after.size === before.size;
      if (!same || BigInt(facts.sizeBytes) !== after.size) {
        await staged.discard();
        return skip(CHANGED);
      }
      await staged.close();
      const mode = Number(before.mode) & 0o7777;
      return { ...task, staged, facts, mediaType: sniffMediaType(start), mtimeNs: before.mtimeNs, mode };
    } catch (error) {
      await staged.discard();
      throw error;
    }
  } catch (error) {
    const reason = skipReason(error);
    if (reason === undefined) throw error;
    return skip(reason);
  } finally {
    await handle?.close();
  }
}

async function* readChunks(handle: FileHandle, tally: Tally): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(SEGMENT_BYTES);
  for (let offset = 0; ;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, offset);
    if (bytesRead === 0) return;
    offset += bytesRead;
    tally.tick();
    yield buffer.subarray(0, bytesRead);
  }
}
