/**
 * Many small acts as one: files that were sealed side by side are named in one transaction, with one audit entry. Guarantees:
 * each file of a batch is there whole or not at all, and none that is named lies in the store without its bytes.
 */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { recordAudit, type Actor } from '../audit/index.ts';
import type { WriteTransaction } from '../lib/db.ts';
import { HoldfastError, isSystemError } from '../lib/errors.ts';
import { explainWriteError, PRIVATE_FILE_MODE } from '../lib/files.ts';
import type { WorkspaceDeps } from './deps.ts';
import type { FileSeal } from './file-format.ts';
import { planContent, publishContents, requireSpace, type TemporaryContent } from './file-store.ts';
import { makerOf, requireRole, type Visitor } from './members.ts';
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
import { sealSmallFile, type SealedFacts } from './seal-file.ts';
import { SNIFF_BYTES, sniffMediaType } from './sniff.ts';

/** Where a file goes, and what is there under its name. */
export interface FilePlace {
  workspaceId: string;
  folderId: string;
  name: string;
  nameHash: Buffer;
  /** The file that it replaces. */
  existing: NodeRow | undefined;
}

/** A file with its ids and keys, about to be sealed. */
export interface PlannedFile extends FilePlace {
  nodeId: string;
  version: number;
  subjectKeyId: string;
  staged: TemporaryContent;
  key: Buffer;
  wrapped: Buffer;
}

/** A file whose bytes are in the store. */
export interface SealedFile extends PlannedFile {
  facts: SealedFacts;
  mediaType: string;
  mtimeNs: bigint;
  /** Permission bits; undefined keeps what a replaced file has. */
  mode: number | undefined;
}

/**
 * Gives files their ids and a key each, has them sealed, and publishes what was: the bytes are durable when this returns, and
 * nothing of them is left when it throws.
 *
 * @param bytes plaintext of all of them
 * @param seal writes each to the path that was planned for it; leaves out what cannot be taken in
 * @throws HoldfastError `no_space`, `space_reserved`; what `seal` throws
 */
export async function sealAndPublish<T extends FilePlace>(
  deps: WorkspaceDeps,
  tasks: readonly T[],
  bytes: number,
  seal: (planned: (T & PlannedFile)[]) => Promise<(T & SealedFile)[]>,
): Promise<(T & SealedFile)[]> {
  const [first] = tasks;
  if (first === undefined) return [];
  await requireSpace(deps.dataDir, bytes);
  const { id: subjectKeyId } = await deps.keys.monthlyKey(first.workspaceId);
  const planned = await Promise.all(tasks.map((task) => planFile(deps, task, subjectKeyId)));
  try {
    const sealed = await seal(planned);
    await publishContents(
      deps.dataDir,
      sealed.map(({ staged }) => staged),
    );
    return sealed;
  } catch (error) {
    await Promise.all(planned.map(({ staged }) => staged.discard()));
    throw error instanceof HoldfastError ? error : explainWriteError(error, 'the file store');
  } finally {
    for (const { key } of planned) key.fill(0);
  }
}

/** Gives a file its ids and a key of its own. Whoever calls wipes the key. */
async function planFile<T extends FilePlace>(
  deps: WorkspaceDeps,
  place: T,
  subjectKeyId: string,
): Promise<T & PlannedFile> {
  const contentId = randomUUID();
  const version = (place.existing?.current_version ?? 0) + 1;
  const { workspaceId } = place;
  const { key, wrapped } = await deps.sealer.createFileKey({ workspaceId, subjectKeyId, contentId, version });
  const staged = planContent(deps.dataDir, contentId);
  const nodeId = place.existing?.id ?? randomUUID();
  return { ...place, nodeId, version, subjectKeyId, staged, key, wrapped };
}

/** A content that is in memory, sealed and written to its planned path; durable when it is published. */
export async function writeSmall<T extends PlannedFile>(
  task: T,
  content: Buffer,
  { mtimeNs, mode }: Pick<SealedFile, 'mtimeNs' | 'mode'>,
): Promise<T & SealedFile> {
  const { stored, facts } = sealSmallFile(content, sealOf(task));
  // Waiting for the write is also what lets other requests in between two files.
  await writeFile(task.staged.temporaryPath, stored, { flag: 'wx', mode: PRIVATE_FILE_MODE });
  return { ...task, facts, mediaType: sniffMediaType(content.subarray(0, SNIFF_BYTES)), mtimeNs, mode };
}

export function sealOf(file: PlannedFile): FileSeal {
  const { workspaceId, subjectKeyId, version, key } = file;
  return { workspaceId, subjectKeyId, contentId: file.staged.contentId, version, key };
}

interface Naming {
  visitor: Visitor;
  actor: Actor;
  action: string;
  /** The folder that the audit entry names: the top of what is taken in. */
  topFolderId: string;
}

/**
 * Names the files of a batch, which are published.
 *
 * @returns those whose name was taken, or whose node was changed, since they were planned: their bytes are gone again.
 */
export async function nameFiles<T extends SealedFile>(
  deps: WorkspaceDeps,
  sealed: readonly T[],
  naming: Naming,
): Promise<Set<T>> {
  const [first] = sealed;
  if (first === undefined) return new Set();
  let stored: Set<T>;
  try {
    const names = await sealNames(deps, first.workspaceId, sealed);
    stored = await namingTransaction(deps, async (tx) => {
      await requireRole(tx, first.workspaceId, naming.visitor, 'editor');
      const named = await insertFiles(tx, deps, sealed, names, makerOf(naming.visitor));
      if (named.size > 0) {
        await recordAudit(tx, deps.clock, naming.actor, {
          action: naming.action,
          objectType: 'folder',
          objectId: naming.topFolderId,
          workspaceId: first.workspaceId,
          detail: { files: named.size, sizeBytes: sumSizes([...named]) },
        });
      }
      return named;
    });
  } catch (error) {
    await discardUnnamed(deps, sealed);
    throw error;
  }
  const lost = sealed.filter((file) => !stored.has(file));
  for (const { staged } of lost) await staged.discard();
  return new Set(lost);
}

export function sumSizes(files: readonly SealedFile[]): number {
  return files.reduce((total, { facts }) => total + facts.sizeBytes, 0);
}

async function sealNames(
  deps: WorkspaceDeps,
  workspaceId: string,
  files: readonly SealedFile[],
): Promise<Map<string, Buffer>> {
  const fresh = files.filter(({ existing }) => existing === undefined);
  const keyId = await nameKeyId(deps, workspaceId);
  const names = await deps.sealer.seal(
    fresh.map(({ name, nodeId }) => ({
      keyId,
      purpose: 'names' as const,
      context: nodeNameContext(workspaceId, nodeId),
      value: name,
    })),
  );
  return new Map(fresh.map(({ nodeId }, index) => [nodeId, names[index] ?? Buffer.alloc(0)]));
}

/** @returns what was stored. */
async function insertFiles<T extends SealedFile>(
  tx: WriteTransaction,
  deps: WorkspaceDeps,
  sealed: readonly T[],
  names: Map<string, Buffer>,
  maker: string | null,
): Promise<Set<T>> {
  const now = deps.clock.now();
  const stored = await insertFresh(tx, sealed, names, now, maker);
  for (const file of sealed.filter(({ existing }) => existing !== undefined)) {
    const node = await lockNode(tx, file.nodeId);
    if (node?.current_version !== file.version - 1 || node.parent_id !== file.folderId) continue;
    await updateNode(tx, file.nodeId, {
      current_version: file.version,
      mtime_ns: String(file.mtimeNs),
      ...(file.mode === undefined ? {} : { mode: file.mode }),
    });
    stored.push(file);
  }
  if (stored.length > 0) {
    await insertVersions(
      tx,
      stored.map((file) => ({
        node_id: file.nodeId,
        version: file.version,
        content_id: file.staged.contentId,
        subject_key_id: file.subjectKeyId,
        wrapped_key: file.wrapped,
        size_bytes: file.facts.sizeBytes,
        stored_bytes: file.facts.storedBytes,
        stored_sha256: file.facts.storedSha256,
        media_type: file.mediaType,
        created_at: now,
        created_by: maker,
      })),
    );
  }
  for (const file of stored.filter(({ version }) => version > 1)) {
    await doomOtherVersions(tx, file.nodeId, file.version, now);
  }
  return new Set(stored);
}

async function insertFresh<T extends SealedFile>(
  tx: WriteTransaction,
  sealed: readonly T[],
  names: Map<string, Buffer>,
  now: Date,
  maker: string | null,
): Promise<T[]> {
  const fresh = sealed.filter(({ existing }) => existing === undefined);
  if (fresh.length === 0) return [];
  const given = await insertNames(
    tx,
    fresh.map((file) => ({ parent_id: file.folderId, name_hash: file.nameHash, node_id: file.nodeId })),
  );
  const stored = fresh.filter(({ nodeId }) => given.has(nodeId));
  if (stored.length === 0) return [];
  await insertNodes(
    tx,
    stored.map((file) => ({
      id: file.nodeId,
      workspace_id: file.workspaceId,
      parent_id: file.folderId,
      kind: 'file',
      name_sealed: names.get(file.nodeId) ?? Buffer.alloc(0),
      mode: file.mode ?? null,
      mtime_ns: String(file.mtimeNs),
      created_at: now,
      created_by: maker,
      current_version: 1,
    })),
  );
  return stored;
}

/** As for one upload: a commit whose answer was lost may have happened. */
async function discardUnnamed(deps: WorkspaceDeps, sealed: readonly SealedFile[]): Promise<void> {
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
      'A batch of files failed and the database does not answer; the collector decides about its contents',
    );
  }
}
