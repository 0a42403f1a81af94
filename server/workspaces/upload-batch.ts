/**
 * Takes many small files in at once, for folders that people bring from their computer. Guarantees: each file is there whole,
 * durable and audited when its outcome says so, and otherwise not at all; what was there under its name stays until then. One
 * that cannot be taken does not keep the others out.
 */
import type { Actor } from '../audit/index.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import { requireFolder, type Visitor } from './members.ts';
import { findNodesByPlace, nameHashes } from './name-index.ts';
import { nameProblem } from './names.ts';
import { listFolderIds, type NodeRow } from './queries.ts';
import { readBatch, type Batch } from './read-batch.ts';
import type { BatchReply } from './schema.ts';
import { nameFiles, sealAndPublish, writeSmall, type FilePlace, type SealedFile } from './store-batch.ts';
import { findFreeName } from './upload-file.ts';

/** Batches at once; each holds up to twice its 16 MiB. */
const MAX_BATCHES = 8;
const NS_PER_MS = 1_000_000n;

type Outcome = BatchReply['items'][number];
type BatchFile = Batch['files'][number];
type Task = FilePlace & { index: number; file: BatchFile };

let running = 0;

/**
 * @param folderId the top of what is taken in: the audit entry names it. The files may go into any folder of its workspace.
 * @param source the body, as `read-batch.ts` reads it.
 * @throws not_found, forbidden; invalid_input, too_large for the body; no_space, space_reserved; too_many_requests. Nothing is stored then.
 */
export async function uploadBatch(
  deps: WorkspaceDeps,
  folderId: string,
  source: AsyncIterable<Uint8Array>,
  visitor: Visitor,
  actor: Actor,
): Promise<BatchReply> {
  const top = await requireFolder(deps.db, folderId, visitor, 'editor');
  if (running >= MAX_BATCHES) {
    throw new HoldfastError('too_many_requests', `At most ${MAX_BATCHES} batches are taken in at once`, {
      hint: 'Wait for the others to end.',
    });
  }
  running += 1;
  try {
    const batch = await readBatch(source);
    const { outcomes, tasks } = await planTasks(deps, top, batch);
    const sealed = await sealTasks(deps, tasks);
    const lost = await nameFiles(deps, sealed, {
      visitor,
      actor,
      action: 'workspaces.files.uploaded',
      topFolderId: top.id,
    });
    crashPoint('workspaces.batch.committed');
    for (const task of sealed) {
      const outcome = task.version > 1 ? 'replaced' : 'stored';
      outcomes[task.index] = { outcome: lost.has(task) ? 'conflict' : outcome };
    }
    return { items: outcomes };
  } finally {
    running -= 1;
  }
}

/** Compares a batch with what is there: some outcomes are known at once, the other files are tasks. */
async function planTasks(
  deps: WorkspaceDeps,
  top: NodeRow,
  batch: Batch,
): Promise<{ outcomes: Outcome[]; tasks: Task[] }> {
  const workspaceId = top.workspace_id;
  const asked = [...new Set(batch.files.map((file) => file.folderId))];
  const folders = new Set(await listFolderIds(deps.db, workspaceId, asked));
  const places = await findNodesByPlace(deps, workspaceId, batch.files);
  const outcomes: Outcome[] = [];
  const tasks: Task[] = [];
  for (const [index, file] of batch.files.entries()) {
    const place = places[index];
    const refusal = folders.has(file.folderId) ? nameProblem(file.name) : 'its folder is not there';
    outcomes.push({ outcome: 'refused', reason: refusal ?? 'a folder of this name is there' });
    if (refusal !== undefined || place === undefined) continue;
    const { node, hash: nameHash } = place;
    const task = { index, file, workspaceId, folderId: file.folderId, name: file.name, nameHash };
    if (node === undefined) tasks.push({ ...task, existing: undefined });
    else if (isSame(node, file)) outcomes[index] = { outcome: 'unchanged' };
    else if (batch.onConflict === 'rename') tasks.push(await renamed(deps, task));
    else if (node.kind === 'folder') continue;
    else if (batch.onConflict === 'replace') tasks.push({ ...task, existing: node });
    else outcomes[index] = { outcome: 'conflict' };
  }
  return { outcomes, tasks };
}

/** Browsers know times to the millisecond only, imports to the nanosecond. */
function isSame(node: NodeRow, file: BatchFile): boolean {
  return (
    node.kind === 'file' &&
    Number(node.size_bytes) === file.sizeBytes &&
    BigInt(node.mtime_ns) / NS_PER_MS === BigInt(file.mtime) / NS_PER_MS
  );
}

async function renamed(deps: WorkspaceDeps, task: Omit<Task, 'existing'>): Promise<Task> {
  const { workspaceId, folderId } = task;
  const name = await findFreeName(deps, { id: folderId, workspace_id: workspaceId }, task.name);
  const [nameHash = task.nameHash] = await nameHashes(deps, workspaceId, folderId, [name]);
  return { ...task, name, nameHash, existing: undefined };
}

async function sealTasks(deps: WorkspaceDeps, tasks: readonly Task[]): Promise<(Task & SealedFile)[]> {
  const bytes = tasks.reduce((sum, { file }) => sum + file.sizeBytes, 0);
  return sealAndPublish(deps, tasks, bytes, async (planned) => {
    const sealed: (Task & SealedFile)[] = [];
    for (const task of planned) {
      const { content, mtime } = task.file;
      sealed.push(await writeSmall(task, content, { mtimeNs: BigInt(mtime), mode: undefined }));
    }
    return sealed;
  });
}
