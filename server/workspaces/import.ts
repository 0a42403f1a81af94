/**
 * Takes a directory tree of the appliance's own disk in. Names, times (to the nanosecond) and permission bits are kept;
 * links, pipes, sockets, devices and names that are not UTF-8 are reported one by one. It can be repeated: files of the
 * same size and time are left alone, others replaced; what is gone from the source stays.
 */
import { randomUUID } from 'node:crypto';
import { realpath, stat } from 'node:fs/promises';
import { isAbsolute, sep } from 'node:path';
import { recordAudit, type Actor } from '../audit/index.ts';
import { HoldfastError, isSystemError } from '../lib/errors.ts';
import { giveMemoryBackSoon } from '../lib/process-memory.ts';
import type { WorkspaceDeps } from './deps.ts';
import { commitBatch, sealBatch, type FileTask } from './import-batch.ts';
import { makerOf, requireFolder } from './members.ts';
import { ensureNameIndex, nameHashes, namingTransaction } from './name-index.ts';
import { nameKeyId, nodeNameContext } from './names.ts';
import { insertNames, insertNodes, listNodesByName, updateNode, type NodeRow } from './queries.ts';
import { startSealThreads } from './seal-threads.ts';
import { readDirectory, type DirectoryEntry } from './read-directory.ts';
import {
  skipReason,
  startTally,
  type ImportReport,
  type Tally,
  type TransferWatch,
} from './transfer-report.ts';

/** Files named in one transaction. */
const BATCH_FILES = 512;
/** A batch ends earlier at this much plaintext. */
const BATCH_BYTES = 64 * 1024 * 1024;

export interface ImportRequest extends TransferWatch {
  /** Absolute path on the appliance. */
  sourceDir: string;
  folderId: string;
  actor: Actor;
}

interface PlannedFolder {
  path: string;
  shown: string;
  folderId: string;
}

/**
 * @throws not_found for the folder; invalid_input for a source that is no readable directory or holds the data folder;
 * no_space, space_reserved; cancelled. What was taken in until then stays, and a repetition goes on from there.
 */
export async function importDirectory(deps: WorkspaceDeps, request: ImportRequest): Promise<ImportReport> {
  const target = await requireFolder(deps.db, request.folderId, 'appliance', 'editor');
  const sourceDir = await requireSource(deps.dataDir, request.sourceDir);
  await ensureNameIndex(deps);
  const tally = startTally(request);
  const pipeline = startPipeline(deps, request, tally);
  const folders: PlannedFolder[] = [{ path: sourceDir, shown: '', folderId: target.id }];
  try {
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      tally.tick();
      await importFolder(deps, request, target.workspace_id, folder, folders, pipeline, tally);
    }
    await pipeline.flush();
  } finally {
    await pipeline.close();
    giveMemoryBackSoon(0);
    // Once more, when its last promises and the reply are done with.
    giveMemoryBackSoon(1000);
  }
  tally.tick();
  return tally.report;
}

async function importFolder(
  deps: WorkspaceDeps,
  request: ImportRequest,
  workspaceId: string,
  folder: PlannedFolder,
  folders: PlannedFolder[],
  pipeline: Pipeline,
  tally: Tally,
): Promise<void> {
  try {
    for await (const entries of readDirectory(folder.path, folder.shown, tally)) {
      if (entries.length === 0) continue;
      const planned = await planEntries(deps, workspaceId, folder, entries, tally);
      await storeFolders(deps, request, planned.folders, tally);
      folders.push(...planned.folders.map(({ entry, id }) => ({ ...entry, folderId: id })));
      for (const task of planned.files) await pipeline.add(task);
    }
  } catch (error) {
    const reason = isSystemError(error) ? skipReason(error) : undefined;
    if (reason === undefined) throw error;
    tally.skip(folder.shown, reason);
  }
}

interface FolderTask {
  entry: DirectoryEntry;
  id: string;
  workspaceId: string;
  parentId: string;
  nameHash: Buffer;
  existing: NodeRow | undefined;
}

/** Compares a part of a directory with what the folder holds. */
async function planEntries(
  deps: WorkspaceDeps,
  workspaceId: string,
  folder: PlannedFolder,
  entries: readonly DirectoryEntry[],
  tally: Tally,
): Promise<{ files: FileTask[]; folders: FolderTask[] }> {
  const names = entries.map(({ name }) => name);
  const hashes = await nameHashes(deps, workspaceId, folder.folderId, names);
  const present = new Map(
    (await listNodesByName(deps.db, folder.folderId, hashes)).map((node) => [
      node.name_hash.toString('hex'),
      node,
    ]),
  );
  const planned: { files: FileTask[]; folders: FolderTask[] } = { files: [], folders: [] };
  entries.forEach((entry, index) => {
    const nameHash = hashes[index];
    if (nameHash === undefined) return;
    const existing = present.get(nameHash.toString('hex'));
    const common = { entry, workspaceId, nameHash, existing };
    if (existing !== undefined && (existing.kind === 'folder') !== entry.isFolder) {
      tally.skip(entry.shown, `a ${existing.kind} of this name is in the way`);
    } else if (entry.isFolder) {
      planned.folders.push({ ...common, id: existing?.id ?? randomUUID(), parentId: folder.folderId });
    } else if (existing !== undefined && isUnchanged(existing, entry)) {
      tally.report.unchanged += 1;
    } else {
      planned.files.push({ ...common, name: entry.name, folderId: folder.folderId });
    }
  });
  return planned;
}

function isUnchanged(existing: NodeRow, entry: DirectoryEntry): boolean {
  return Number(existing.size_bytes) === entry.sizeBytes && BigInt(existing.mtime_ns) === entry.mtimeNs;
}

/** Makes the folders that are missing and brings times and modes of the others up to date, in one transaction. */
async function storeFolders(
  deps: WorkspaceDeps,
  request: ImportRequest,
  tasks: readonly FolderTask[],
  tally: Tally,
): Promise<void> {
  const fresh = tasks.filter(({ existing }) => existing === undefined);
  const stale = tasks.filter(
    ({ existing, entry }) =>
      existing !== undefined && (existing.mode !== entry.mode || BigInt(existing.mtime_ns) !== entry.mtimeNs),
  );
  const [first] = [...fresh, ...stale];
  if (first === undefined) return;
  const keyId = await nameKeyId(deps, first.workspaceId);
  const names = await deps.sealer.seal(
    fresh.map(({ entry, id, workspaceId }) => ({
      keyId,
      purpose: 'names' as const,
      context: nodeNameContext(workspaceId, id),
      value: entry.name,
    })),
  );
  const now = deps.clock.now();
  await namingTransaction(deps, async (tx) => {
    for (const { id, entry } of stale) {
      await updateNode(tx, id, { mode: entry.mode, mtime_ns: String(entry.mtimeNs) });
    }
    if (fresh.length === 0) return;
    await insertNodes(
      tx,
      fresh.map((task, index) => ({
        id: task.id,
        workspace_id: task.workspaceId,
        parent_id: task.parentId,
        kind: 'folder',
        name_sealed: names[index] ?? Buffer.alloc(0),
        mode: task.entry.mode,
        mtime_ns: String(task.entry.mtimeNs),
        created_at: now,
        created_by: makerOf('appliance'),
      })),
    );
    const given = await insertNames(
      tx,
      fresh.map((task) => ({ parent_id: task.parentId, name_hash: task.nameHash, node_id: task.id })),
    );
    if (given.size < fresh.length) {
      throw new HoldfastError('conflict', 'Somebody changes the folder while it is imported into', {
        hint: 'Run the import again: what is there already is not taken in twice.',
      });
    }
    await recordAudit(tx, deps.clock, request.actor, {
      action: 'workspaces.folders.imported',
      objectType: 'folder',
      objectId: request.folderId,
      workspaceId: first.workspaceId,
      detail: { folders: fresh.length },
    });
  });
  tally.report.folders += fresh.length;
}

/** Collects files into batches; while one is being named in the database, the next is sealed. */
interface Pipeline {
  add(task: FileTask): Promise<void>;
  flush(): Promise<void>;
  /** Waits for what is under way, whatever became of it, and ends the threads. */
  close(): Promise<void>;
}

function startPipeline(deps: WorkspaceDeps, request: ImportRequest, tally: Tally): Pipeline {
  let batch: FileTask[] = [];
  let batchBytes = 0;
  let committing: Promise<void> = Promise.resolve();
  const threads = startSealThreads();

  const seal = async () => {
    const tasks = batch;
    batch = [];
    batchBytes = 0;
    const sealed = await sealBatch(deps, threads, tasks, tally);
    const before = committing;
    committing = (async () => {
      try {
        await before;
      } finally {
        await commitBatch(deps, sealed, request.folderId, request.actor, tally);
      }
    })();
    // Met by whoever awaits `committing` next.
    committing.catch(() => undefined);
    await before;
  };
  return {
    async add(task) {
      batch.push(task);
      batchBytes += task.entry.sizeBytes;
      if (batch.length >= BATCH_FILES || batchBytes >= BATCH_BYTES) await seal();
    },
    async flush() {
      await seal();
      await committing;
    },
    async close() {
      await committing.catch(() => undefined);
      await threads.close();
    },
  };
}

async function requireSource(dataDir: string, path: string): Promise<string> {
  if (!isAbsolute(path)) throw badSource('it is not an absolute path');
  try {
    const source = await realpath(path);
    if (!(await stat(source)).isDirectory()) throw badSource('it is not a directory');
    const data = await realpath(dataDir);
    if (isWithin(source, data) || isWithin(data, source))
      throw badSource('it holds the data of this appliance');
    return source;
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) throw badSource('there is no such directory');
    if (isSystemError(error, 'EACCES')) throw badSource('the account that runs Holdfast may not read it');
    throw error;
  }
}

/** Whether `path` is `above` or lies in it. */
export function isWithin(path: string, above: string): boolean {
  return path === above || path.startsWith(above.endsWith(sep) ? above : above + sep);
}

function badSource(why: string): HoldfastError {
  return new HoldfastError('invalid_input', `This folder cannot be imported: ${why}`, {
    hint: 'Give the absolute path of a directory on the appliance itself. Nothing was changed.',
  });
}
