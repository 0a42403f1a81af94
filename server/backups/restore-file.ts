/**
 * One file of a snapshot, back beside the present one under a name that says of when it is, or in its place. The file's
 * stored form is staged, opened with its own key, checked against its hash, and stored again as a new file.
 */
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemActor } from '../audit/index.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RunContext, RunOutcome } from '../lib/runs.ts';
import { addFile, requireSpace, type WorkspaceDeps } from '../workspaces/index.ts';
import type { SnapshotRecord } from './engine.ts';
import type { ChunkReader } from './pipeline/chunk-reader.ts';
import { contentPathOf, readContent } from './restore-content.ts';
import { findLanding, restoredName, settleRestored } from './restore-landing.ts';
import { isFileLine, openNames, type WantedFile } from './restore-listing.ts';
import { openSnapshotListing, requireSection } from './snapshot-listing.ts';
import { withSnapshot, type RepositoryRunDeps } from './target-repository.ts';

export type RestoreFileDeps = RepositoryRunDeps & WorkspaceDeps;

const FILES_SECTION = 'files';

/** The run of kind `restore-file`; input: snapshotId, targetId, folderId, nodeId, inPlace. */
export async function runRestoreFile(deps: RestoreFileDeps, run: RunContext): Promise<RunOutcome> {
  const { snapshotId = '', targetId = '', folderId = '', nodeId } = run.input as Record<string, string>;
  await run.step('Opening the snapshot');
  return withSnapshot(deps, run, { targetId, snapshotId }, async ({ reader, snapshot }) => {
    for await (const node of openSnapshotListing(reader, snapshot).eachNode(folderId))
      if (node.id === nodeId && isFileLine(node)) return bringBack(deps, run, { reader, snapshot, node });
    throw new HoldfastError('not_found', 'The snapshot does not have this file');
  });
}

interface Wanted {
  reader: ChunkReader;
  snapshot: SnapshotRecord;
  node: WantedFile['node'];
}

async function bringBack(deps: RestoreFileDeps, run: RunContext, wanted: Wanted): Promise<RunOutcome> {
  const { reader, snapshot, node } = wanted;
  const { file } = node;
  const landing = await findLanding(deps, node, await openSnapshotListing(reader, snapshot).folders());
  // The stored form lies beside the result until that is whole.
  await requireSpace(deps.dataDir, Number(file.storedBytes) + Number(file.sizeBytes));
  const scratch = join(dataPaths(deps.dataDir).scratch, run.runId);
  await mkdir(scratch, { recursive: true, mode: 0o700 });
  try {
    await run.step('Fetching the file');
    const staged = join(scratch, file.contentId);
    await stage(wanted, staged, run);
    await run.step('Opening and storing the file');
    const name = (await openNames(deps, [node])).get(node.id) ?? '';
    const restored = await addFile(deps, systemActor('restore'), {
      folderId: landing.folderId,
      name: restoredName(name, 'file', snapshot.takenAt),
      content: readContent(deps, staged, node),
      mtimeNs: node.mtimeNs,
      ...(node.mode === null ? {} : { mode: node.mode }),
      onConflict: 'rename',
    });
    const { result, notExchanged } = await settleRestored(deps, run, {
      ...{ snapshot, line: node, kind: 'file', restored, landing, whole: true },
    });
    return { state: notExchanged ? 'partial' : 'succeeded', result };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Writes the stored (still encrypted) form into the scratch folder. */
async function stage({ reader, snapshot, node }: Wanted, path: string, run: RunContext): Promise<void> {
  const section = requireSection(snapshot, FILES_SECTION);
  const entry = await reader.findEntry(section, contentPathOf(node));
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
