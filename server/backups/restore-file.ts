/**
 * One file of a snapshot, back in its folder beside the present one, under a name that says of when it is. The file's
 * stored form is staged, opened with its own key, checked against its hash, and stored again as a new file.
 */
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { recordAudit, systemActor } from '../audit/index.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RunContext, RunOutcome } from '../lib/runs.ts';
import {
  addFile,
  nameKeyId,
  openNodeNames,
  openStoredFile,
  readVerified,
  type WorkspaceDeps,
} from '../workspaces/index.ts';
import type { NodeLine } from './appliance-queries.ts';
import type { ChunkReader } from './pipeline/chunk-reader.ts';
import { openSnapshotListing, requireSection } from './snapshot-listing.ts';
import { withSnapshot, type RepositoryRunDeps } from './target-repository.ts';
import type { SnapshotRecord } from './engine.ts';

export type RestoreFileDeps = RepositoryRunDeps & WorkspaceDeps;

const FILES_SECTION = 'files';

/** The run of kind `restore-file`; input: snapshotId, targetId, folderId, nodeId. */
export async function runRestoreFile(deps: RestoreFileDeps, run: RunContext): Promise<RunOutcome> {
  const { snapshotId = '', targetId = '', folderId = '', nodeId } = run.input as Record<string, string>;
  await run.step('Opening the snapshot');
  return withSnapshot(deps, run, { targetId, snapshotId }, async ({ reader, snapshot }) => {
    const nodes = await openSnapshotListing(reader, snapshot).nodes(folderId);
    const node = nodes.find((one) => one.id === nodeId);
    if (node?.file == null) throw new HoldfastError('not_found', 'The snapshot does not have this file');
    return bringBack(deps, run, { reader, snapshot, node: { ...node, file: node.file } });
  });
}

interface Wanted {
  reader: ChunkReader;
  snapshot: SnapshotRecord;
  node: NodeLine & { file: NonNullable<NodeLine['file']> };
}

async function bringBack(deps: RestoreFileDeps, run: RunContext, wanted: Wanted): Promise<RunOutcome> {
  const { snapshot, node } = wanted;
  const { file } = node;
  const scratch = join(dataPaths(deps.dataDir).scratch, run.runId);
  await mkdir(scratch, { recursive: true, mode: 0o700 });
  try {
    await run.step('Fetching the file');
    const staged = join(scratch, file.contentId);
    await stage(wanted, staged, run);
    await run.step('Opening and storing the file');
    const context = {
      workspaceId: node.workspaceId,
      subjectKeyId: file.subjectKeyId,
      contentId: file.contentId,
      version: file.version,
    };
    const key = await deps.sealer.openFileKey(context, Buffer.from(file.wrappedKey, 'base64'));
    const handle = await open(staged, 'r');
    try {
      const { size } = await handle.stat();
      const stored = {
        sizeBytes: size,
        read: async (offset: number, length: number) => {
          const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, offset);
          return buffer.subarray(0, bytesRead);
        },
      };
      const opened = await openStoredFile(stored, { ...context, key });
      const [name = ''] = await openNodeNames(deps, await nameKeyId(deps, node.workspaceId), [
        { id: node.id, workspace_id: node.workspaceId, name_sealed: Buffer.from(node.nameSealed, 'base64') },
      ]);
      const restored = await addFile(deps, systemActor('restore'), {
        folderId: node.parentId,
        name: restoredName(name, snapshot.takenAt),
        content: readVerified(opened),
        mtimeNs: node.mtimeNs,
        ...(node.mode === null ? {} : { mode: node.mode }),
        onConflict: 'rename',
      });
      await recordRestored(deps, run, snapshot, node, restored.id);
      return {
        state: 'succeeded',
        result: { nodeId: restored.id, folderId: node.parentId, snapshotId: snapshot.id },
      };
    } finally {
      key.fill(0);
      await handle.close();
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Writes the stored (still encrypted) form into the scratch folder. */
async function stage({ reader, snapshot, node }: Wanted, path: string, run: RunContext): Promise<void> {
  const section = requireSection(snapshot, FILES_SECTION);
  const { contentId } = node.file;
  const entry = await reader.findEntry(section, `${contentId.slice(0, 2)}/${contentId}`);
  if (entry === undefined) {
    throw new HoldfastError(
      'integrity_failure',
      'The snapshot names this file, but its content is not in it',
      {
        hint: 'Run verify, and look for the file in another snapshot.',
      },
    );
  }
  const handle = await open(path, 'wx', 0o600);
  try {
    let bytesDone = 0;
    for await (const part of reader.readFile(entry)) {
      run.signal.throwIfAborted();
      await handle.write(part);
      bytesDone += part.length;
      run.report({ bytesDone, bytesTotal: Number(node.file.storedBytes) });
    }
  } finally {
    await handle.close();
  }
}

/** `report.pdf` becomes `report (of 2026-11-21 0200).pdf`. */
export function restoredName(name: string, takenAt: string): string {
  const when = ` (of ${takenAt.slice(0, 10)} ${takenAt.slice(11, 13)}${takenAt.slice(14, 16)})`;
  const dot = name.lastIndexOf('.');
  const [stem, extension] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ''];
  const room = 240 - Buffer.byteLength(when + extension);
  let kept = stem;
  while (Buffer.byteLength(kept) > room) kept = kept.slice(0, -1);
  return `${kept}${when}${extension}`;
}

async function recordRestored(
  deps: RestoreFileDeps,
  run: RunContext,
  snapshot: SnapshotRecord,
  node: NodeLine,
  restoredId: string,
): Promise<void> {
  await writeTransaction(deps.db, (tx) =>
    recordAudit(
      tx,
      deps.clock,
      run.requestedBy === undefined ? systemActor('restore') : { kind: 'user', id: run.requestedBy },
      {
        action: 'backups.file.restored',
        objectType: 'node',
        objectId: restoredId,
        workspaceId: node.workspaceId,
        detail: { snapshotId: snapshot.id, original: node.id, run: run.runId },
      },
    ),
  );
}
