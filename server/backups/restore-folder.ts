/**
 * A folder of a snapshot with all that is in it, back in its workspace: beside the present one under a name that says of when it
 * is, or in its place, with the present one kept beside. Every file is opened with its own key, checked against its hash, and
 * stored again as a new one.
 *
 * Guarantees: until all of it is there the folder's name says that it is not whole; cancelled, failed or killed, it is deleted again.
 * Relies on: disk in the scratch folder for the stored form of one batch of files, or of one large file.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { dataPaths } from '../lib/data-folder.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RunContext, RunOutcome } from '../lib/runs.ts';
import {
  bringFiles,
  changeNode,
  createFolder,
  createFolders,
  deleteNode,
  findFreeName,
  requireSpace,
} from '../workspaces/index.ts';
import { contentPathOf, readContent } from './restore-content.ts';
import type { RestoreFileDeps } from './restore-file.ts';
import { findLanding, restoredName, restorerOf, settleRestored, unfinishedName } from './restore-landing.ts';
import { isFileLine, openNames, type WantedFile } from './restore-listing.ts';
import type { FolderLine } from './appliance-queries.ts';
import type { SnapshotRecord } from './engine.ts';
import type { ChunkReader } from './pipeline/chunk-reader.ts';
import { noteUnfinished } from './unfinished-queries.ts';
import { openSnapshotListing, requireSection, type SnapshotListing } from './snapshot-listing.ts';
import { withSnapshot } from './target-repository.ts';

const FILES_SECTION = 'files';
/** Files that are fetched at once, each time with one pass through the list of all; a batch ends earlier at this many bytes. */
const BATCH_FILES = 4096;
const BATCH_BYTES = 256 * 1024 ** 2;
/** Files of one transaction. */
const NAMED_FILES = 512;
/** Folders that are made at once. */
const BATCH_FOLDERS = 500;
/** Up to so many folders are read one by one; more in one pass through all. */
const FEW_FOLDERS = 200;
/** Problems that stand in the log; the result counts all. */
const TOLD_PROBLEMS = 100;

type FileLine = WantedFile['node'];

interface Restoring {
  deps: RestoreFileDeps;
  run: RunContext;
  reader: ChunkReader;
  snapshot: SnapshotRecord;
  listing: SnapshotListing;
  top: FolderLine;
  /** Paths below the top by id, the top itself as ''. */
  paths: ReadonlyMap<string, string>;
}

/** The run of kind `restore-folder`; input: snapshotId, targetId, nodeId, inPlace. */
export async function runRestoreFolder(deps: RestoreFileDeps, run: RunContext): Promise<RunOutcome> {
  const { snapshotId = '', targetId = '', nodeId = '' } = run.input as Record<string, string>;
  await run.step('Opening the snapshot');
  return withSnapshot(deps, run, { targetId, snapshotId }, async ({ reader, snapshot }) => {
    const listing = openSnapshotListing(reader, snapshot);
    const folders = await listing.folders();
    const top = folders.get(nodeId);
    if (top === undefined) throw new HoldfastError('not_found', 'The snapshot does not have this folder');
    const landing = await findLanding(deps, top, folders);
    await run.step('Looking through the folder');
    const paths = await pathsBelow(deps, top, folders);
    const restoring: Restoring = { deps, run, reader, snapshot, listing, top, paths };
    const totals = await measure(restoring);
    const was = (await openNames(deps, [top])).get(top.id) || 'Everything';
    const name = restoredName(was, 'folder', snapshot.takenAt);
    const unfinished = await createFolder(
      deps,
      {
        parentId: landing.folderId,
        name: await freeName(restoring, landing.folderId, unfinishedName(name)),
      },
      'appliance',
      restorerOf(run),
    );
    await noteUnfinished(deps.db, run.runId, unfinished.id);
    const done = await fillOrRemove(restoring, unfinished.id, totals);
    const whole = done.problems === 0;
    const final = { name: await freeName(restoring, landing.folderId, name) };
    const restored = await changeNode(deps, unfinished.id, final, 'appliance', restorerOf(run));
    if (landing.moved)
      await run.log('warn', 'The folder where it was is gone; it lies in the nearest above it');
    const settled = await settleRestored(deps, run, {
      ...{ snapshot, line: top, kind: 'folder', restored, landing, whole },
      detail: { files: done.files, bytes: done.bytes, problems: done.problems },
    });
    const state = whole && !settled.notExchanged ? 'succeeded' : 'partial';
    return { state, result: { ...settled.result, ...done } };
  });
}

/** What did not come to its end is removed again; what did stays, whatever comes after. */
async function fillOrRemove(restoring: Restoring, topId: string, totals: Totals): Promise<Filled> {
  try {
    return await fill(restoring, topId, totals);
  } catch (error) {
    await deleteNode(restoring.deps, topId, 'appliance', restorerOf(restoring.run));
    throw error;
  }
}

/** Of the folder and every one below it. */
async function pathsBelow(
  deps: RestoreFileDeps,
  top: FolderLine,
  folders: ReadonlyMap<string, FolderLine>,
): Promise<Map<string, string>> {
  const children = Map.groupBy(folders.values(), (line) => line.parentId);
  const below: FolderLine[] = [];
  const seen = new Set([top.id]);
  for (const waiting = [top]; waiting.length > 0;) {
    const line = waiting.pop();
    for (const child of children.get(line?.id ?? '') ?? []) {
      if (seen.has(child.id)) continue;
      seen.add(child.id);
      below.push(child);
      waiting.push(child);
    }
  }
  const names = await openNames(deps, below);
  const paths = new Map([[top.id, '']]);
  for (const line of below) {
    const above = paths.get(line.parentId ?? '') ?? '';
    const name = names.get(line.id) ?? '';
    paths.set(line.id, above === '' ? name : `${above}/${name}`);
  }
  return paths;
}

async function* filesBelow({ listing, paths }: Restoring): AsyncGenerator<FileLine> {
  if (paths.size > FEW_FOLDERS) {
    for await (const line of listing.allNodes()) if (isFileLine(line) && paths.has(line.parentId)) yield line;
    return;
  }
  for (const id of paths.keys())
    for await (const line of listing.eachNode(id)) if (isFileLine(line)) yield line;
}

interface Totals {
  files: number;
  bytes: number;
}

/** @throws HoldfastError `no_space`, before anything is made. */
async function measure(restoring: Restoring): Promise<Totals> {
  const totals = { files: 0, bytes: 0 };
  let largest = 0;
  for await (const { file } of filesBelow(restoring)) {
    totals.files += 1;
    totals.bytes += Number(file.sizeBytes);
    largest = Math.max(largest, Number(file.storedBytes));
  }
  // The stored form of a batch lies beside the result.
  await requireSpace(
    restoring.deps.dataDir,
    totals.bytes + Math.max(largest, Math.min(totals.bytes, BATCH_BYTES)),
  );
  return totals;
}

async function freeName({ deps, top }: Restoring, folderId: string, name: string): Promise<string> {
  return findFreeName(deps, { id: folderId, workspace_id: top.workspaceId }, name);
}

interface Filled {
  files: number;
  folders: number;
  bytes: number;
  problems: number;
}

async function fill(restoring: Restoring, topId: string, totals: Totals): Promise<Filled> {
  const { run } = restoring;
  const done: Filled = { files: 0, folders: 0, bytes: 0, problems: 0 };
  // By id: more people may see a run's log than the names of files.
  const tell = async (id: string, reason: string): Promise<void> => {
    done.problems += 1;
    if (done.problems <= TOLD_PROBLEMS) await run.log('warn', `${id}: ${reason}`);
  };
  await run.step('Making the folders');
  const places = await makeFolders(restoring, topId, done, tell);
  await run.step('Bringing the files back');
  const flush = async (batch: FileLine[]): Promise<void> => {
    run.signal.throwIfAborted();
    for await (const { stored, bytes } of bringBatch(restoring, { topId, places, batch, tell })) {
      done.files += stored;
      done.bytes += bytes;
      run.report({
        ...{ filesDone: done.files, filesTotal: totals.files },
        ...{ bytesDone: done.bytes, bytesTotal: totals.bytes },
      });
    }
  };
  let batch: FileLine[] = [];
  let size = 0;
  for await (const line of filesBelow(restoring)) {
    batch.push(line);
    size += Number(line.file.sizeBytes);
    if (batch.length < BATCH_FILES && size < BATCH_BYTES) continue;
    await flush(batch);
    batch = [];
    size = 0;
  }
  if (batch.length > 0) await flush(batch);
  return done;
}

type Tell = (id: string, reason: string) => Promise<void>;

/** @returns the new folder for the id of each that was. */
async function makeFolders(
  { deps, run, paths }: Restoring,
  topId: string,
  done: Filled,
  tell: Tell,
): Promise<Map<string, string>> {
  const places = new Map<string, string>();
  const wanted: [string, string][] = [];
  for (const [id, path] of paths) {
    if (path === '') places.set(id, topId);
    else wanted.push([id, path]);
  }
  for (let start = 0; start < wanted.length; start += BATCH_FOLDERS) {
    run.signal.throwIfAborted();
    const group = wanted.slice(start, start + BATCH_FOLDERS);
    const asked = group.map(([, path]) => path);
    const { items } = await createFolders(deps, topId, asked, 'appliance', restorerOf(run));
    for (const [index, [id]] of group.entries()) {
      const item = items[index];
      if (item !== undefined && 'folderId' in item) places.set(id, item.folderId);
      else await tell(id, item?.reason ?? 'it could not be made');
    }
  }
  done.folders = places.size;
  return places;
}

interface Batch {
  topId: string;
  places: ReadonlyMap<string, string>;
  batch: readonly FileLine[];
  tell: Tell;
}

async function* bringBatch(
  restoring: Restoring,
  { topId, places, batch, tell }: Batch,
): AsyncGenerator<{ stored: number; bytes: number }> {
  const { deps, run, reader, snapshot, top } = restoring;
  const scratch = join(dataPaths(deps.dataDir).scratch, run.runId);
  const stored = join(scratch, 'stored');
  await mkdir(scratch, { recursive: true, mode: 0o700 });
  try {
    await reader.restoreSection(requireSection(snapshot, FILES_SECTION), stored, {
      paths: batch.map(contentPathOf),
      signal: run.signal,
    });
    const names = await openNames(deps, batch);
    const files = batch.flatMap((node) => {
      const name = names.get(node.id) ?? '';
      const folderId = places.get(node.parentId);
      // Its folder was told of.
      if (folderId === undefined) return [];
      return [
        {
          ...{ id: node.id, folderId, name, mtimeNs: BigInt(node.mtimeNs), mode: node.mode ?? undefined },
          sizeBytes: Number(node.file.sizeBytes),
          content: readContent(deps, join(stored, contentPathOf(node)), node),
        },
      ];
    });
    const bringing = { workspaceId: top.workspaceId, topFolderId: topId, actor: restorerOf(run) };
    for (let start = 0; start < files.length; start += NAMED_FILES) {
      run.signal.throwIfAborted();
      const report = await bringFiles(deps, files.slice(start, start + NAMED_FILES), bringing);
      for (const { file, reason } of report.problems) await tell(file.id, reason);
      yield report;
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
