/**
 * Writes a folder out as a directory tree on the appliance's own disk: names, permission bits (set-user-id and the like
 * are dropped: whoever may upload must not be able to plant a program that runs as root) and times (to a quarter of a
 * microsecond, what the runtime can set). Every file is staged beside its place, checked against its hash, then given
 * its name; all of it is durable when the report is given. It can be repeated into its own earlier export: files of the same size and time are left alone.
 */
import {
  chmod,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  utimes,
} from 'node:fs/promises';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { recordAudit, type Actor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError, isSystemError } from '../lib/errors.ts';
import { temporaryBeside, TEMPORARY_PREFIX, writeFileDurably } from '../lib/files.ts';
import type { WorkspaceDeps } from './deps.ts';
import { openStored } from './download-file.ts';
import { isWithin } from './import.ts';
import { requireFolder } from './members.ts';
import { nameKeyId, openNodeNames } from './names.ts';
import { readVerified } from './open-file.ts';
import { findContent, listChildren, type NodeRow } from './queries.ts';
import { syncTree } from './sync-file-system.ts';
import {
  skipReason,
  startTally,
  type ExportReport,
  type Tally,
  type TransferWatch,
} from './transfer-report.ts';

/** Tells a directory that we exported into, and from which folder. An import reports it as an ordinary file. */
const EXPORT_MARK = '.holdfast-export';

const BATCH = 500;
const PARALLEL = 4;
const FILE_BITS = 0o777;
const NS_PER_SECOND = 1_000_000_000n;
/** What a time may differ by after it went through the runtime. */
const TIME_TOLERANCE_NS = 1_000n;

export interface ExportRequest extends TransferWatch {
  /** Absolute path on the appliance: missing, empty, or an earlier export of the same folder. */
  targetDir: string;
  folderId: string;
  actor: Actor;
}

interface ExportFolder {
  node: NodeRow;
  path: string;
  /** Relative, for reports. */
  shown: string;
}

/**
 * @throws not_found for the folder; invalid_input for a target that cannot be used; conflict when it holds something
 * else; no_space; cancelled. What was written until then stays, and a repetition goes on from there.
 */
export async function exportDirectory(deps: WorkspaceDeps, request: ExportRequest): Promise<ExportReport> {
  const top = await requireFolder(deps.db, request.folderId, 'appliance', 'viewer');
  const targetDir = await prepareTarget(deps.dataDir, request.targetDir, top.id);
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, request.actor, {
      action: 'workspaces.folder.exported',
      objectType: 'folder',
      objectId: top.id,
      workspaceId: top.workspace_id,
    }),
  );
  const tally = startTally(request);
  const keyId = await nameKeyId(deps, top.workspace_id);
  const folders: ExportFolder[] = [{ node: top, path: targetDir, shown: '' }];
  const finished: ExportFolder[] = [];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    folders.push(...(await exportFolder(deps, keyId, folder, tally)));
    finished.push(folder);
  }
  if (tally.report.files + tally.report.replaced + tally.report.folders > 0) await syncTree(targetDir);
  // Deepest first: writing into a directory changes its time, and its mode may forbid it.
  for (const folder of finished.reverse()) {
    if (folder.node !== top) await finishFolder(folder, tally);
  }
  tally.tick();
  return tally.report;
}

/** @returns the folders in it, made and ready to be written into. */
async function exportFolder(
  deps: WorkspaceDeps,
  keyId: string,
  folder: ExportFolder,
  tally: Tally,
): Promise<ExportFolder[]> {
  const below: ExportFolder[] = [];
  const names = new Set<string>(folder.shown === '' ? [EXPORT_MARK] : []);
  let afterId: string | undefined;
  for (;;) {
    const nodes = await listChildren(deps.db, folder.node.id, afterId, BATCH);
    const opened = await openNodeNames(deps, keyId, nodes);
    const items = nodes.map((node, index) => {
      const name = opened[index] ?? '';
      names.add(name);
      return {
        node,
        path: join(folder.path, name),
        shown: folder.shown === '' ? name : `${folder.shown}/${name}`,
      };
    });
    for (const item of items.filter(({ node }) => node.kind === 'folder')) {
      if (await attempt(tally, item.shown, () => makeFolder(item.path, tally))) below.push(item);
    }
    await exportFiles(
      deps,
      items.filter(({ node }) => node.kind === 'file'),
      tally,
    );
    if (nodes.length < BATCH) break;
    afterId = nodes.at(-1)?.id;
  }
  await reportLeftovers(folder, names, tally);
  return below;
}

async function exportFiles(deps: WorkspaceDeps, items: ExportFolder[], tally: Tally): Promise<void> {
  const waiting = [...items].reverse();
  const work = async () => {
    for (let item = waiting.pop(); item !== undefined; item = waiting.pop()) {
      const file = item;
      tally.tick();
      await attempt(tally, file.shown, () => exportFile(deps, file, tally));
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: PARALLEL }, work));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

async function exportFile(deps: WorkspaceDeps, item: ExportFolder, tally: Tally): Promise<void> {
  const present = await lstatOf(item.path);
  const expected = { sizeBytes: Number(item.node.size_bytes), mtimeNs: BigInt(item.node.mtime_ns) };
  const isFile = present?.isFile() === true;
  if (present !== undefined && !isFile) return tally.skip(item.shown, 'something else of this name is there');
  if (
    present !== undefined &&
    Number(present.size) === expected.sizeBytes &&
    near(present.mtimeNs, expected.mtimeNs)
  ) {
    tally.report.unchanged += 1;
    return;
  }
  const content = await findContent(deps.db, item.node.id);
  if (content === undefined) return tally.skip(item.shown, 'it was deleted meanwhile');
  const opened = await openStored(deps, content);
  const temporary = temporaryBeside(item.path);
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      for await (const part of readVerified(opened.file)) {
        tally.tick();
        await handle.writeFile(part);
      }
      await handle.chmod((item.node.mode ?? 0o600) & FILE_BITS);
      const time = timeOf(expected.mtimeNs);
      await handle.utimes(time, time);
    } finally {
      await handle.close();
    }
    await rename(temporary, item.path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await opened.close();
  }
  if (present === undefined) tally.report.files += 1;
  else tally.report.replaced += 1;
  tally.report.bytes += opened.file.sizeBytes;
}

async function makeFolder(path: string, tally: Tally): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
    tally.report.folders += 1;
  } catch (error) {
    if (!isSystemError(error, 'EEXIST')) throw error;
    if ((await lstatOf(path))?.isDirectory() !== true) throw error;
    // An earlier export may have left it read-only, as the original is.
    await chmod(path, 0o700);
  }
}

async function finishFolder(folder: ExportFolder, tally: Tally): Promise<void> {
  await attempt(tally, folder.shown, async () => {
    await chmod(folder.path, (folder.node.mode ?? 0o700) & FILE_BITS);
    const time = timeOf(BigInt(folder.node.mtime_ns));
    await utimes(folder.path, time, time);
  });
}

/** What is in the target but not in the folder: nothing of it is removed, all of it is said. */
async function reportLeftovers(folder: ExportFolder, names: Set<string>, tally: Tally): Promise<void> {
  for (const name of await readdir(folder.path)) {
    if (names.has(name)) continue;
    if (name.startsWith(TEMPORARY_PREFIX))
      await rm(join(folder.path, name), { force: true, recursive: true });
    else
      tally.skip(
        folder.shown === '' ? name : `${folder.shown}/${name}`,
        'it is not in the appliance; left as it is',
      );
  }
}

/** @returns false when the item was skipped. @throws what concerns more than one item. */
async function attempt(tally: Tally, shown: string, act: () => Promise<unknown>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    if (isSystemError(error, 'ENOSPC', 'EDQUOT')) {
      throw new HoldfastError('no_space', 'The target disk is full', {
        hint: 'What was written until then is whole. Free some space and run it again.',
        cause: error,
      });
    }
    const reason = skipReason(error);
    if (reason === undefined) throw error;
    tally.skip(shown, reason);
    return false;
  }
}

async function prepareTarget(dataDir: string, path: string, folderId: string): Promise<string> {
  if (!isAbsolute(path)) throw badTarget('it is not an absolute path');
  try {
    const parent = await realpath(dirname(path));
    const target = join(parent, basename(path));
    if (isWithin(target, await realpath(dataDir))) throw badTarget('it lies in the data of this appliance');
    await mkdir(target, { mode: 0o700 }).catch((error: unknown) => {
      if (!isSystemError(error, 'EEXIST')) throw error;
    });
    const real = await realpath(target);
    if (!(await stat(real)).isDirectory()) throw badTarget('it is not a directory');
    if (isWithin(real, await realpath(dataDir))) throw badTarget('it lies in the data of this appliance');
    const names = await readdir(real);
    if (names.length > 0 && !(await isExportOf(join(real, EXPORT_MARK), folderId))) throw notEmpty();
    await writeFileDurably(
      join(real, EXPORT_MARK),
      `${JSON.stringify({ kind: 'holdfast-export', folderId })}\n`,
    );
    return real;
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) throw badTarget('the folder above it does not exist');
    if (isSystemError(error, 'EACCES', 'EROFS'))
      throw badTarget('the account that runs Holdfast may not write it');
    throw error;
  }
}

async function isExportOf(mark: string, folderId: string): Promise<boolean> {
  try {
    const value = JSON.parse(await readFile(mark, 'utf8')) as { kind?: unknown; folderId?: unknown };
    return value.kind === 'holdfast-export' && value.folderId === folderId;
  } catch (error) {
    if (error instanceof SyntaxError || isSystemError(error, 'ENOENT', 'EISDIR')) return false;
    throw error;
  }
}

async function lstatOf(path: string) {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** What the runtime takes for a time; before 1970 it takes milliseconds only. */
function timeOf(ns: bigint): number | Date {
  if (ns < 0n) return new Date(Number(ns / 1_000_000n));
  return Number(ns / NS_PER_SECOND) + Number(ns % NS_PER_SECOND) / 1e9;
}

function near(a: bigint, b: bigint): boolean {
  const difference = a > b ? a - b : b - a;
  return difference < (b < 0n ? 1_000_000n : TIME_TOLERANCE_NS);
}

function badTarget(why: string): HoldfastError {
  return new HoldfastError('invalid_input', `This folder cannot be exported into: ${why}`, {
    hint: 'Give the absolute path of a new or empty directory on the appliance itself.',
  });
}

function notEmpty(): HoldfastError {
  return new HoldfastError('conflict', 'This folder is not empty, and no earlier export of the same folder', {
    hint: 'Choose an empty one. Nothing was changed.',
  });
}
