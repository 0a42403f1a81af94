/**
 * Files that Holdfast itself brings, many at once: those of a restored folder. Guarantees: each is there whole and durable when
 * it is told of as stored, and otherwise not at all. One whose content cannot be read does not keep the others out.
 */
import type { Actor } from '../audit/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import { SEGMENT_BYTES } from './file-format.ts';
import { stageContent } from './file-store.ts';
import { findNodesByPlace } from './name-index.ts';
import { sealFile } from './seal-file.ts';
import { sniffMediaType } from './sniff.ts';
import {
  nameFiles,
  sealAndPublish,
  sealOf,
  writeSmall,
  type FilePlace,
  type PlannedFile,
  type SealedFile,
} from './store-batch.ts';
import { collectStart } from './upload-file.ts';

/** A file to bring, into a folder that is there. */
export interface BroughtFile {
  folderId: string;
  name: string;
  sizeBytes: number;
  /** Nanoseconds since the epoch. */
  mtimeNs: bigint;
  mode: number | undefined;
  /** Read once. What it throws keeps this file out and no other. */
  content: AsyncIterable<Uint8Array>;
}

export interface BringReport<File extends BroughtFile> {
  stored: number;
  bytes: number;
  problems: { file: File; reason: string }[];
}

interface Bringing {
  workspaceId: string;
  /** The audit entry names it. */
  topFolderId: string;
  actor: Actor;
}

/** Files that are read and sealed side by side: while one waits for the disk the next is worked on. */
const AT_ONCE = 8;

type Task<File> = FilePlace & { file: File };

/** @throws HoldfastError `no_space`, `space_reserved`, `not_found` when a folder is gone: none of them is stored then. */
export async function bringFiles<File extends BroughtFile>(
  deps: WorkspaceDeps,
  files: readonly File[],
  { workspaceId, topFolderId, actor }: Bringing,
): Promise<BringReport<File>> {
  const problems: BringReport<File>['problems'] = [];
  const places = await findNodesByPlace(deps, workspaceId, files);
  const tasks = files.flatMap((file, index): Task<File>[] => {
    const place = places[index];
    const { folderId, name } = file;
    if (place?.node === undefined && place !== undefined)
      return [{ file, workspaceId, folderId, name, nameHash: place.hash, existing: undefined }];
    problems.push({ file, reason: 'something of this name is there' });
    return [];
  });
  const sealed = await sealTasks(deps, tasks, problems);
  const naming = { visitor: 'appliance', actor, action: 'workspaces.files.restored', topFolderId } as const;
  const lost = await nameFiles(deps, sealed, naming);
  crashPoint('workspaces.bring.committed');
  for (const { file } of lost) problems.push({ file, reason: 'something of this name was added meanwhile' });
  const stored = sealed.filter((task) => !lost.has(task));
  return {
    stored: stored.length,
    bytes: stored.reduce((sum, { facts }) => sum + facts.sizeBytes, 0),
    problems,
  };
}

/** @returns what was sealed; why the others were not goes to `problems`. */
async function sealTasks<File extends BroughtFile>(
  deps: WorkspaceDeps,
  tasks: readonly Task<File>[],
  problems: BringReport<File>['problems'],
): Promise<(Task<File> & SealedFile)[]> {
  const bytes = tasks.reduce((sum, { file }) => sum + file.sizeBytes, 0);
  return sealAndPublish(deps, tasks, bytes, async (planned) => {
    const sealed: (Task<File> & SealedFile)[] = [];
    const waiting = planned.values();
    const sealNext = async (): Promise<void> => {
      for (const task of waiting) {
        const done = await sealTask(task);
        if (typeof done === 'string') problems.push({ file: task.file, reason: done });
        else sealed.push(done);
      }
    };
    const ends = await Promise.allSettled(Array.from({ length: AT_ONCE }, sealNext));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    return sealed;
  });
}

/** @returns why it cannot be had, when that is the content's fault. */
async function sealTask<File extends BroughtFile>(
  task: Task<File> & PlannedFile,
): Promise<(Task<File> & SealedFile) | string> {
  const { file } = task;
  let fault: string | undefined;
  async function* content(): AsyncGenerator<Uint8Array> {
    let size = 0;
    try {
      for await (const part of file.content) {
        size += part.length;
        if (size > file.sizeBytes) break;
        yield part;
      }
      if (size !== file.sizeBytes)
        throw new HoldfastError('integrity_failure', 'it is not as long as recorded');
    } catch (error) {
      fault = messageOf(error);
      throw error;
    }
  }
  try {
    return await (file.sizeBytes < SEGMENT_BYTES ? sealSmall(task, content()) : sealLarge(task, content()));
  } catch (error) {
    if (fault !== undefined) return fault;
    throw error;
  }
}

async function sealSmall<T extends Task<BroughtFile> & PlannedFile>(
  task: T,
  content: AsyncIterable<Uint8Array>,
): Promise<T & SealedFile> {
  const parts = await Array.fromAsync(content);
  return writeSmall(task, Buffer.concat(parts), task.file);
}

async function sealLarge<T extends Task<BroughtFile> & PlannedFile>(
  task: T,
  content: AsyncIterable<Uint8Array>,
): Promise<T & SealedFile> {
  const { mtimeNs, mode } = task.file;
  const staged = await stageContent(task.staged);
  try {
    const start = collectStart(content);
    const facts = await sealFile(start.source, sealOf(task), staged.write);
    await staged.close();
    return { ...task, staged, facts, mediaType: sniffMediaType(start.bytes()), mtimeNs, mode };
  } catch (error) {
    await staged.discard();
    throw error;
  }
}
