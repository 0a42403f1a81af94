/**
 * A batch of an import: files are read and sealed side by side, published together, and named in one transaction.
 * Guarantees: a file of the batch is there whole or not at all; a crash loses at most the batches that were under way.
 */
import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { recordAudit, type Actor } from '../audit/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import type { WriteTransaction } from '../lib/db.ts';
import { HoldfastError, isSystemError } from '../lib/errors.ts';
import { explainWriteError } from '../lib/files.ts';
import type { WorkspaceDeps } from './deps.ts';
import { SEGMENT_BYTES, type FileSeal } from './file-format.ts';
import {
  planContent,
  publishContents,
  requireSpace,
  stageContent,
  type TemporaryContent,
} from './file-store.ts';
import { namingTransaction } from './name-index.ts';
import { nameKeyId, nodeNameContext } from './names.ts';
import {
  doomOtherVersions,
  insertNames,
  insertNodes,
  insertVersions,
  listKnownContents,
  lockNode,
  updateNode,
  type NodeRow,
} from './queries.ts';
import type { DirectoryEntry } from './read-directory.ts';
import { sealFile, type SealedFacts } from './seal-file.ts';
import type { SealThreads } from './seal-threads.ts';
import { SNIFF_BYTES, sniffMediaType } from './sniff.ts';
import { skipReason, type Tally } from './transfer-report.ts';

/** A file to take in: new, or instead of what an existing node holds. */
export interface FileTask {
  entry: DirectoryEntry;
  workspaceId: string;
  folderId: string;
  nameHash: Buffer;
  existing: NodeRow | undefined;
}

interface PlannedTask extends FileTask {
  nodeId: string;
  version: number;
  subjectKeyId: string;
  staged: TemporaryContent;
  key: Buffer;
  wrapped: Buffer;
}

interface SealedTask extends PlannedTask {
  facts: SealedFacts;
  mediaType: string;
  mtimeNs: bigint;
  mode: number;
}

const CHANGED = 'it changed while it was read';

/**
 * Reads, seals and makes durable; what cannot be read goes to the tally.
 *
 * @throws no_space, cancelled; nothing of the batch is left then.
 */
export async function sealBatch(
  deps: WorkspaceDeps,
  threads: SealThreads,
  tasks: readonly FileTask[],
  tally: Tally,
): Promise<SealedTask[]> {
  const [first] = tasks;
  if (first === undefined) return [];
  await requireSpace(
    deps.dataDir,
    tasks.reduce((total, { entry }) => total + entry.sizeBytes, 0),
  );
  const { id: subjectKeyId } = await deps.keys.monthlyKey(first.workspaceId);
  const planned = await Promise.all(tasks.map((task) => planTask(deps, task, subjectKeyId)));
  try {
    const isSmall = ({ entry }: PlannedTask) => entry.sizeBytes < SEGMENT_BYTES;
    const sealed = await sealSmall(threads, planned.filter(isSmall), tally);
    for (const task of planned.filter((one) => !isSmall(one))) {
      tally.tick();
      const result = await sealLarge(deps, task, tally);
      if (result !== undefined) sealed.push(result);
    }
    await publishContents(
      deps.dataDir,
      sealed.map(({ staged }) => staged),
    );
    return sealed;
  } catch (error) {
    await Promise.all(planned.map(({ staged }) => staged.discard()));
    throw error;
  } finally {
    for (const { key } of planned) key.fill(0);
  }
}

/** Names the files of a batch in one transaction, with one audit entry. */
export async function commitBatch(
  deps: WorkspaceDeps,
  sealed: readonly SealedTask[],
  importedTo: string,
  actor: Actor,
  tally: Tally,
): Promise<void> {
  const [first] = sealed;
  if (first === undefined) return;
  const names = await sealNames(deps, sealed);
  let lost: Set<SealedTask>;
  try {
    lost = await namingTransaction(deps, async (tx) => {
      const taken = await insertFiles(tx, deps, sealed, names);
      const stored = sealed.filter((task) => !taken.has(task));
      await recordAudit(tx, deps.clock, actor, {
        action: 'workspaces.files.imported',
        objectType: 'folder',
        objectId: importedTo,
        workspaceId: first.workspaceId,
        detail: { files: stored.length, sizeBytes: sum(stored) },
      });
      return taken;
    });
  } catch (error) {
    await discardUnnamed(deps, sealed);
    throw error;
  }
  crashPoint('workspaces.import.committed');
  for (const task of lost) {
    await task.staged.discard();
    tally.skip(task.entry.shown, 'something of this name was added or changed meanwhile');
  }
  const stored = sealed.filter((task) => !lost.has(task));
  tally.report.files += stored.filter(({ version }) => version === 1).length;
  tally.report.replaced += stored.filter(({ version }) => version > 1).length;
  tally.report.bytes += sum(stored);
  tally.tick();
}

async function planTask(deps: WorkspaceDeps, task: FileTask, subjectKeyId: string): Promise<PlannedTask> {
  const contentId = randomUUID();
  const version = (task.existing?.current_version ?? 0) + 1;
  const place = { workspaceId: task.workspaceId, subjectKeyId, contentId, version };
  const { key, wrapped } = await deps.sealer.createFileKey(place);
  const staged = planContent(deps.dataDir, contentId);
  return { ...task, nodeId: task.existing?.id ?? randomUUID(), version, subjectKeyId, staged, key, wrapped };
}

function sealOf(task: PlannedTask): FileSeal {
  const { workspaceId, subjectKeyId, version, key } = task;
  return { workspaceId, subjectKeyId, contentId: task.staged.contentId, version, key };
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

async function sealLarge(
  deps: WorkspaceDeps,
  task: PlannedTask,
  tally: Tally,
): Promise<SealedTask | undefined> {
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
    const staged = await stageContent(deps.dataDir, task.staged.contentId);
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

async function sealNames(deps: WorkspaceDeps, tasks: readonly SealedTask[]): Promise<Map<string, Buffer>> {
  const fresh = tasks.filter(({ existing }) => existing === undefined);
  const keyId = await nameKeyId(deps, tasks[0]?.workspaceId ?? '');
  const names = await deps.sealer.seal(
    fresh.map(({ entry, nodeId, workspaceId }) => ({
      keyId,
      purpose: 'names' as const,
      context: nodeNameContext(workspaceId, nodeId),
      value: entry.name,
    })),
  );
  return new Map(fresh.map(({ nodeId }, index) => [nodeId, names[index] ?? Buffer.alloc(0)]));
}

/** @returns the tasks whose name was taken, or whose node was changed, since they were planned. */
async function insertFiles(
  tx: WriteTransaction,
  deps: WorkspaceDeps,
  sealed: readonly SealedTask[],
  names: Map<string, Buffer>,
): Promise<Set<SealedTask>> {
  const now = deps.clock.now();
  const fresh = sealed.filter(({ existing }) => existing === undefined);
  const rows = fresh.map((task) => ({
    parent_id: task.folderId,
    name_hash: task.nameHash,
    node_id: task.nodeId,
  }));
  const given = rows.length === 0 ? new Set<string>() : await insertNames(tx, rows);
  const stored = fresh.filter(({ nodeId }) => given.has(nodeId));
  if (stored.length > 0) {
    await insertNodes(
      tx,
      stored.map((task) => ({
        id: task.nodeId,
        workspace_id: task.workspaceId,
        parent_id: task.folderId,
        kind: 'file',
        name_sealed: names.get(task.nodeId) ?? Buffer.alloc(0),
        mode: task.mode,
        mtime_ns: String(task.mtimeNs),
        created_at: now,
        created_by: null,
        current_version: 1,
      })),
    );
  }
  for (const task of sealed.filter(({ existing }) => existing !== undefined)) {
    const node = await lockNode(tx, task.nodeId);
    if (node?.current_version !== task.version - 1 || node.parent_id !== task.folderId) continue;
    await updateNode(tx, task.nodeId, {
      current_version: task.version,
      mtime_ns: String(task.mtimeNs),
      mode: task.mode,
    });
    stored.push(task);
  }
  if (stored.length > 0) {
    await insertVersions(
      tx,
      stored.map((task) => ({
        node_id: task.nodeId,
        version: task.version,
        content_id: task.staged.contentId,
        subject_key_id: task.subjectKeyId,
        wrapped_key: task.wrapped,
        size_bytes: task.facts.sizeBytes,
        stored_bytes: task.facts.storedBytes,
        stored_sha256: task.facts.storedSha256,
        media_type: task.mediaType,
        created_at: now,
        created_by: null,
      })),
    );
  }
  for (const task of stored.filter(({ version }) => version > 1)) {
    await doomOtherVersions(tx, task.nodeId, task.version, now);
  }
  const kept = new Set(stored);
  return new Set(sealed.filter((task) => !kept.has(task)));
}

/** As for one upload: a commit whose answer was lost may have happened. */
async function discardUnnamed(deps: WorkspaceDeps, sealed: readonly SealedTask[]): Promise<void> {
  try {
    const known = new Set(
      await listKnownContents(
        deps.db,
        sealed.map(({ staged }) => staged.contentId),
      ),
    );
    for (const { staged } of sealed) if (!known.has(staged.contentId)) await staged.discard();
  } catch (error) {
    if (!(error instanceof HoldfastError) && !isSystemError(error)) throw error;
    deps.log.warn(
      { files: sealed.length },
      'A batch of an import failed and the database does not answer; the collector decides about its contents',
    );
  }
}

function sum(tasks: readonly SealedTask[]): number {
  return tasks.reduce((total, { facts }) => total + facts.sizeBytes, 0);
}
