/**
 * Files that Holdfast itself brings, many at once: those of a restored folder. Guarantees: each is there whole and durable when
 * it is told of as stored, and otherwise not at all. One whose content cannot be read does not keep the others out.
 */
import type { Actor } from '../audit/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import { explainWriteError } from '../lib/files.ts';
import type { WorkspaceDeps } from './deps.ts';
import { publishContents, requireSpace, stageContent } from './file-store.ts';
import { findNodesByPlace } from './name-index.ts';
import { sealFile } from './seal-file.ts';
import { sniffMediaType } from './sniff.ts';
import {
  nameFiles,
  planFile,
  sealOf,
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

type Task<File> = FilePlace & { file: File };

/** @throws HoldfastError `no_space`, `space_reserved`, `not_found` when a folder is gone: none of them is stored then. */
export async function bringFiles<File extends BroughtFile>(
  deps: WorkspaceDeps,
  files: readonly File[],
  { workspaceId, topFolderId, actor }: Bringing,
): Promise<BringReport<File>> {
  await requireSpace(
    deps.dataDir,
    files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  );
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
  const sealed = await sealTasks(deps, workspaceId, tasks, problems);
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

/** Nothing of them is left when it throws. */
async function sealTasks<File extends BroughtFile>(
  deps: WorkspaceDeps,
  workspaceId: string,
  tasks: readonly Task<File>[],
  problems: BringReport<File>['problems'],
): Promise<(Task<File> & SealedFile)[]> {
  const { id: subjectKeyId } = await deps.keys.monthlyKey(workspaceId);
  const planned = await Promise.all(tasks.map((task) => planFile(deps, task, subjectKeyId)));
  const sealed: (Task<File> & SealedFile)[] = [];
  try {
    for (const task of planned) {
      const done = await sealTask(deps, task);
      if (typeof done === 'string') problems.push({ file: task.file, reason: done });
      else sealed.push(done);
    }
    await publishContents(
      deps.dataDir,
      sealed.map(({ staged }) => staged),
    );
    return sealed;
  } catch (error) {
    await Promise.all(sealed.map(({ staged }) => staged.discard()));
    throw error instanceof HoldfastError ? error : explainWriteError(error, 'the file store');
  } finally {
    for (const { key } of planned) key.fill(0);
  }
}

/** @returns why it cannot be had, when that is the content's fault. */
async function sealTask<File extends BroughtFile>(
  deps: WorkspaceDeps,
  task: Task<File> & PlannedFile,
): Promise<(Task<File> & SealedFile) | string> {
  const { file } = task;
  let fault: string | undefined;
  async function* content(): AsyncGenerator<Uint8Array> {
    try {
      yield* file.content;
    } catch (error) {
      fault = messageOf(error);
      throw error;
    }
  }
  const staged = await stageContent(deps.dataDir, task.staged.contentId);
  try {
    const start = collectStart(content());
    const facts = await sealFile(start.source, sealOf(task), staged.write);
    await staged.close();
    const mediaType = sniffMediaType(start.bytes());
    return { ...task, staged, facts, mediaType, mtimeNs: file.mtimeNs, mode: file.mode };
  } catch (error) {
    await staged.discard();
    if (fault !== undefined) return fault;
    throw error;
  }
}
