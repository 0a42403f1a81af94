/**
 * Takes one file in. Guarantees: the file is there whole, durable and audited when the call returns, and otherwise not at
 * all; what was there under its name stays until then. Relies on: `file-store.ts` for the bytes, one transaction for
 * everything that names them.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../audit/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import type { WriteTransaction } from '../lib/db.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import {
  publishContents,
  requireSpace,
  planContent,
  stageContent,
  type StagedContent,
} from './file-store.ts';
import { makerOf, noSuchNode, requireFolder, requireRole, type Visitor } from './members.ts';
import { findNodeByName, nameHashes, namingTransaction } from './name-index.ts';
import { numberedName, requireName } from './names.ts';
import { instantToNs } from './node-shape.ts';
import {
  doomOtherVersions,
  holdFolder,
  insertNames,
  insertNodes,
  insertVersions,
  listKnownContents,
  listNodesByName,
  lockNode,
  updateNode,
  type NodeRow,
} from './queries.ts';
import type { Node } from './schema.ts';
import { sealFile, type SealedFacts } from './seal-file.ts';
import { getNode, nameTaken, sealNodeName } from './service.ts';
import { SNIFF_BYTES, sniffMediaType } from './sniff.ts';

/** Largest file. */
const MAX_FILE_BYTES = 1024 ** 4;
/** Uploads at once; each holds some 10 MiB. */
const MAX_UPLOADS = 32;
/** The disk is looked at again after this much. */
const SPACE_CHECK_BYTES = 64 * 1024 * 1024;
/** Numbers that are tried for a name that is taken. */
const MAX_NUMBERED = 500;

export interface UploadRequest {
  folderId: string;
  name: string;
  /** Nanoseconds since the epoch, decimal; the present when absent. */
  mtimeNs?: string | undefined;
  mode?: number | undefined;
  onConflict: 'refuse' | 'replace' | 'rename';
  /** What the sender says the size is. */
  announcedBytes?: number | undefined;
}

/** Everything that is decided before the first byte is read. */
interface UploadPlan {
  folder: NodeRow;
  nodeId: string;
  contentId: string;
  /** Of the content; above 1 it replaces the one before. */
  version: number;
  subjectKeyId: string;
}

let running = 0;

/**
 * @param source the bytes; an error of it (a sender that went away) leaves nothing behind.
 * @throws not_found, forbidden, invalid_input; conflict when the name is taken, or the file to be replaced was changed
 * meanwhile; too_large, no_space, space_reserved; too_many_requests
 */
export async function uploadFile(
  deps: WorkspaceDeps,
  request: UploadRequest,
  source: AsyncIterable<Uint8Array>,
  visitor: Visitor,
  actor: Actor,
): Promise<Node> {
  const plan = await planUpload(deps, request, visitor);
  if (running >= MAX_UPLOADS) {
    throw new HoldfastError('too_many_requests', `At most ${MAX_UPLOADS} files are taken in at once`, {
      hint: 'Wait for the others to end.',
    });
  }
  running += 1;
  try {
    return await receive(deps, request, plan, source, visitor, actor);
  } finally {
    running -= 1;
  }
}

async function planUpload(
  deps: WorkspaceDeps,
  request: UploadRequest,
  visitor: Visitor,
): Promise<UploadPlan> {
  requireName(request.name);
  const folder = await requireFolder(deps.db, request.folderId, visitor, 'editor');
  if ((request.announcedBytes ?? 0) > MAX_FILE_BYTES) throw tooLarge();
  await requireSpace(deps.dataDir, request.announcedBytes ?? 0);
  const present = await findNodeByName(deps, folder, request.name);
  if (present !== undefined && request.onConflict === 'refuse') throw nameTaken();
  const replaced = request.onConflict === 'replace' ? present : undefined;
  if (replaced?.kind === 'folder') throw nameTaken();
  const { id: subjectKeyId } = await deps.keys.monthlyKey(folder.workspace_id);
  return {
    folder,
    nodeId: replaced?.id ?? randomUUID(),
    contentId: randomUUID(),
    version: (replaced?.current_version ?? 0) + 1,
    subjectKeyId,
  };
}

async function receive(
  deps: WorkspaceDeps,
  request: UploadRequest,
  plan: UploadPlan,
  source: AsyncIterable<Uint8Array>,
  visitor: Visitor,
  actor: Actor,
): Promise<Node> {
  const place = {
    workspaceId: plan.folder.workspace_id,
    subjectKeyId: plan.subjectKeyId,
    contentId: plan.contentId,
    version: plan.version,
  };
  const staged = await stageContent(planContent(deps.dataDir, plan.contentId));
  let key: Buffer | undefined;
  try {
    const made = await deps.sealer.createFileKey(place);
    key = made.key;
    const start = collectStart(guardSpace(deps, source));
    const facts = await sealFile(start.source, { ...place, key }, staged.write, { maxBytes: MAX_FILE_BYTES });
    if (request.announcedBytes !== undefined && facts.sizeBytes !== request.announcedBytes) throw cutOff();
    await staged.finish();
    await publishContents(deps.dataDir, [staged]);
    const content = { facts, wrapped: made.wrapped, mediaType: sniffMediaType(start.bytes()) };
    await commitUnderSomeName(deps, request, plan, content, visitor, actor);
  } catch (error) {
    await discardUnlessCommitted(deps, staged);
    throw error;
  } finally {
    key?.fill(0);
  }
  crashPoint('workspaces.upload.committed');
  return getNode(deps, plan.nodeId, visitor);
}

interface ReceivedContent {
  facts: SealedFacts;
  wrapped: Buffer;
  mediaType: string;
}

/** With `rename`, a name that was free a moment ago may be taken by now: then the next one. */
async function commitUnderSomeName(
  deps: WorkspaceDeps,
  request: UploadRequest,
  plan: UploadPlan,
  content: ReceivedContent,
  visitor: Visitor,
  actor: Actor,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const name =
      request.onConflict === 'rename' ? await findFreeName(deps, plan.folder, request.name) : request.name;
    try {
      return await commitUpload(deps, { ...request, name }, plan, content, visitor, actor);
    } catch (error) {
      const taken = error instanceof HoldfastError && error.code === 'conflict';
      if (!taken || request.onConflict !== 'rename' || attempt === MAX_UPLOADS) throw error;
    }
  }
}

async function commitUpload(
  deps: WorkspaceDeps,
  request: UploadRequest,
  plan: UploadPlan,
  content: ReceivedContent,
  visitor: Visitor,
  actor: Actor,
): Promise<void> {
  const { folder, nodeId } = plan;
  const { name } = request;
  const name_sealed = await sealNodeName(deps, folder.workspace_id, nodeId, name);
  const [name_hash] = await nameHashes(deps, folder.workspace_id, folder.id, [name]);
  if (name_hash === undefined) throw new HoldfastError('internal', 'A name has no index value');
  const now = deps.clock.now();
  await namingTransaction(deps, async (tx) => {
    await requireRole(tx, folder.workspace_id, visitor, 'editor');
    if (plan.version > 1) await replaceContent(tx, plan, request, now);
    else {
      if ((await holdFolder(tx, folder.id)) === undefined) throw noSuchNode();
      await insertNodes(tx, [
        {
          id: nodeId,
          workspace_id: folder.workspace_id,
          parent_id: folder.id,
          kind: 'file',
          name_sealed,
          mode: request.mode ?? null,
          mtime_ns: request.mtimeNs ?? instantToNs(now),
          created_at: now,
          created_by: makerOf(visitor),
          current_version: 1,
        },
      ]);
      const given = await insertNames(tx, [{ parent_id: folder.id, name_hash, node_id: nodeId }]);
      if (!given.has(nodeId)) throw nameTaken();
    }
    await insertVersions(tx, [versionRow(plan, content, now, makerOf(visitor))]);
    if (plan.version > 1) await doomOtherVersions(tx, nodeId, plan.version, now);
    await recordAudit(tx, deps.clock, actor, {
      action: plan.version > 1 ? 'workspaces.file.replaced' : 'workspaces.file.uploaded',
      objectType: 'file',
      objectId: nodeId,
      workspaceId: folder.workspace_id,
      detail: { contentId: plan.contentId, sizeBytes: content.facts.sizeBytes, version: plan.version },
    });
  });
}

/** @throws conflict when the file is not as it was when the upload began */
async function replaceContent(
  tx: WriteTransaction,
  plan: UploadPlan,
  request: UploadRequest,
  now: Date,
): Promise<void> {
  const node = await lockNode(tx, plan.nodeId);
  if (node?.current_version !== plan.version - 1 || node.parent_id !== plan.folder.id) {
    throw new HoldfastError('conflict', 'This file was changed while the new content was on its way', {
      hint: 'Look at what is there now, then upload again.',
    });
  }
  await updateNode(tx, plan.nodeId, {
    current_version: plan.version,
    mtime_ns: request.mtimeNs ?? instantToNs(now),
    ...(request.mode === undefined ? {} : { mode: request.mode }),
  });
}

function versionRow(plan: UploadPlan, content: ReceivedContent, now: Date, maker: string | null) {
  return {
    node_id: plan.nodeId,
    version: plan.version,
    content_id: plan.contentId,
    subject_key_id: plan.subjectKeyId,
    wrapped_key: content.wrapped,
    size_bytes: content.facts.sizeBytes,
    stored_bytes: content.facts.storedBytes,
    stored_sha256: content.facts.storedSha256,
    media_type: content.mediaType,
    created_at: now,
    created_by: maker,
  };
}

/** The name, or the first numbered form of it that is free. @throws conflict when as many numbers as are tried are taken */
export async function findFreeName(
  deps: WorkspaceDeps,
  folder: Pick<NodeRow, 'id' | 'workspace_id'>,
  name: string,
): Promise<string> {
  const candidates = [name, ...Array.from({ length: MAX_NUMBERED }, (_, n) => numberedName(name, n + 2))];
  const hashes = await nameHashes(deps, folder.workspace_id, folder.id, candidates);
  const taken = await listNodesByName(deps.db, folder.id, hashes);
  const takenHashes = new Set(taken.map((node) => node.name_hash.toString('hex')));
  const free = candidates.find((_, index) => !takenHashes.has(hashes[index]?.toString('hex') ?? ''));
  if (free === undefined) throw nameTaken();
  return free;
}

/** A commit whose answer was lost may have happened: then the content has its row, and stays. */
async function discardUnlessCommitted(deps: WorkspaceDeps, staged: StagedContent): Promise<void> {
  try {
    if ((await listKnownContents(deps.db, [staged.contentId])).length > 0) return;
  } catch (error) {
    deps.log.warn(
      { contentId: staged.contentId, detail: messageOf(error) },
      'An upload failed and the database does not answer; the collector decides about its content',
    );
    return;
  }
  await staged.discard();
}

async function* guardSpace(
  deps: WorkspaceDeps,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  let sinceCheck = 0;
  for await (const chunk of source) {
    sinceCheck += chunk.length;
    if (sinceCheck >= SPACE_CHECK_BYTES) {
      await requireSpace(deps.dataDir, 0);
      sinceCheck = 0;
    }
    yield chunk;
  }
}

/** Lets a stream through and keeps its first bytes. */
export function collectStart(source: AsyncIterable<Uint8Array>) {
  const parts: Buffer[] = [];
  let kept = 0;
  async function* pass(): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      if (kept < SNIFF_BYTES) {
        const part = Buffer.from(chunk.subarray(0, SNIFF_BYTES - kept));
        parts.push(part);
        kept += part.length;
      }
      yield chunk;
    }
  }
  return { source: pass(), bytes: () => Buffer.concat(parts) };
}

function tooLarge(): HoldfastError {
  return new HoldfastError('too_large', `A file may hold at most ${MAX_FILE_BYTES} bytes`);
}

function cutOff(): HoldfastError {
  return new HoldfastError('cancelled', 'The upload ended before all of its bytes had arrived', {
    hint: 'Upload it again. Nothing was stored.',
  });
}

/** A file that Holdfast itself brings: a restore. */
export interface AddedFile {
  folderId: string;
  name: string;
  content: AsyncIterable<Uint8Array>;
  /** Nanoseconds since the epoch, decimal. */
  mtimeNs: string;
  mode?: number;
  onConflict: UploadRequest['onConflict'];
}

/** As `uploadFile`, for an act that was permitted before it began. */
export function addFile(deps: WorkspaceDeps, actor: Actor, file: AddedFile): Promise<Node> {
  const { content, ...request } = file;
  return uploadFile(deps, request, content, 'appliance', actor);
}
