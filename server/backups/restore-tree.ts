/**
 * The files of a snapshot under their own names, in a directory outside the appliance: names opened, content decrypted,
 * modes and times as they were.
 *
 * Guarantees: a file gets its name only when all of it was authenticated and its hash compared; nothing is written outside
 * the directory, nor through a link that lies in it. What cannot be restored is reported, the rest is restored.
 * Relies on: memory for one entry per wanted file, and disk for 1 GiB or a sixteenth of their stored bytes on top of
 * the result, whichever is more.
 */
import { mkdtemp, open, readdir, rename, rm, utimes, lstat, mkdir, link } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HoldfastError, isSystemError, messageOf } from '../lib/errors.ts';
import { explainWriteError, temporaryBeside } from '../lib/files.ts';
import {
  nameKeyId,
  openNodeNames,
  openStoredFile,
  readVerified,
  type WorkspaceDeps,
} from '../workspaces/index.ts';
import type { FolderLine, NodeLine } from './appliance-queries.ts';
import type { SnapshotRecord } from './engine.ts';
import type { ChunkReader } from './pipeline/chunk-reader.ts';
import { openSnapshotListing, requireSection } from './snapshot-listing.ts';

const FILES_SECTION = 'files';
const NAME_BATCH = 500;
const MOST_PROBLEMS = 1_000;
/** Stored bytes that may lie staged beside what is restored. */
const STAGED_BYTES = 1024 ** 3;

export interface RestoreTreeOptions {
  /** Absolute path. */
  to: string;
  /** Paths within the workspace, `/` between parts; all when absent. A folder stands for everything below it. */
  paths?: readonly string[];
  /** `refuse`: the directory must be empty or absent. `skip` and `replace` say what becomes of a file that is there. */
  existing: 'refuse' | 'skip' | 'replace';
  signal: AbortSignal;
  progress?: (done: { files: number; totalFiles: number; bytes: number; totalBytes: number }) => void;
}

export interface RestoreTreeReport {
  files: number;
  folders: number;
  bytes: number;
  /** There already, and left alone. */
  skipped: number;
  /** The first thousand. */
  problems: { path: string; reason: string }[];
  problemCount: number;
}

type TreeKeys = Pick<WorkspaceDeps, 'keys' | 'sealer'>;

/** A file to restore: where it goes, and how it is opened. */
interface WantedFile {
  path: string;
  node: NodeLine & { file: NonNullable<NodeLine['file']> };
}

/**
 * @throws HoldfastError `conflict` when the directory is not empty, `not_found` when a wanted path is not in the snapshot,
 * `cancelled`, `no_space`, `wrong_state` for a snapshot that is not of an appliance.
 */
export async function restoreTree(
  source: { reader: ChunkReader; snapshot: SnapshotRecord } & TreeKeys,
  options: RestoreTreeOptions,
): Promise<RestoreTreeReport> {
  await openDestination(options);
  const report: RestoreTreeReport = {
    files: 0,
    folders: 0,
    bytes: 0,
    skipped: 0,
    problems: [],
    problemCount: 0,
  };
  const folders = await nameFolders(source);
  const { files, madeFolders } = await chooseFiles(source, folders, options);
  for (const path of madeFolders) await makeFolder(options.to, path, report);
  const totals = {
    totalFiles: files.length,
    totalBytes: files.reduce((sum, { node }) => sum + Number(node.file.sizeBytes), 0),
  };
  const staging = await mkdtemp(join(options.to, '.holdfast-restore-'));
  try {
    for (const group of groupsOf(files)) {
      await restoreGroup(source, options, { group, staging, report, totals });
    }
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return report;
}

async function openDestination(options: RestoreTreeOptions): Promise<void> {
  const found = await readdir(options.to).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return [];
    if (isSystemError(error, 'ENOTDIR')) {
      throw new HoldfastError('conflict', `${options.to} is not a directory`, {
        hint: 'Name a new or empty one.',
      });
    }
    throw explainWriteError(error, options.to);
  });
  if (found.length > 0 && options.existing === 'refuse') {
    throw new HoldfastError('conflict', `${options.to} is not empty`, {
      hint: 'Name a new or empty directory, or say with --into-existing what becomes of files that are there.',
    });
  }
  try {
    await mkdir(options.to, { recursive: true });
  } catch (error) {
    throw explainWriteError(error, options.to);
  }
}

/** Path of each folder by id; the top of a sole workspace is ''. */
async function nameFolders(
  source: { reader: ChunkReader; snapshot: SnapshotRecord } & TreeKeys,
): Promise<Map<string, string>> {
  const lines = await openSnapshotListing(source.reader, source.snapshot).folders();
  const names = await openNames(source, [...lines.values()]);
  const roots = [...lines.values()].filter((line) => line.parentId === null);
  const paths = new Map<string, string>();
  const pathOf = (line: FolderLine, depth: number): string | undefined => {
    const known = paths.get(line.id);
    if (known !== undefined) return known;
    const name = names.get(line.id) ?? '';
    if (line.parentId === null) {
      const path = roots.length === 1 ? '' : name;
      paths.set(line.id, path);
      return path;
    }
    const parent = lines.get(line.parentId);
    const above = parent === undefined || depth > 1_000 ? undefined : pathOf(parent, depth + 1);
    if (above === undefined) return undefined;
    const path = joinPath(above, name);
    paths.set(line.id, path);
    return path;
  };
  for (const line of lines.values()) pathOf(line, 0);
  return paths;
}

async function openNames(source: TreeKeys, lines: readonly FolderLine[]): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  const byWorkspace = Map.groupBy(lines, (line) => line.workspaceId);
  for (const [workspaceId, group] of byWorkspace) {
    const keyId = await nameKeyId(source, workspaceId);
    for (let start = 0; start < group.length; start += NAME_BATCH) {
      const batch = group.slice(start, start + NAME_BATCH);
      const rows = batch.map((line) => ({
        id: line.id,
        workspace_id: line.workspaceId,
        name_sealed: Buffer.from(line.nameSealed, 'base64'),
      }));
      const opened = await openNodeNames(source, keyId, rows);
      for (const [index, line] of batch.entries()) names.set(line.id, opened[index] ?? '');
    }
  }
  return names;
}

async function chooseFiles(
  source: { reader: ChunkReader; snapshot: SnapshotRecord } & TreeKeys,
  folders: ReadonlyMap<string, string>,
  options: RestoreTreeOptions,
): Promise<{ files: WantedFile[]; madeFolders: string[] }> {
  const wanted = options.paths?.map((path) => path.replace(/^\/+|\/+$/g, ''));
  const unmet = new Set(wanted);
  const isWanted = (path: string): boolean => {
    if (wanted === undefined) return true;
    const hit = wanted.find((one) => one === '' || path === one || path.startsWith(`${one}/`));
    if (hit !== undefined) unmet.delete(hit);
    return hit !== undefined;
  };
  const mayHold = (folder: string | undefined) =>
    folder !== undefined &&
    (wanted === undefined ||
      wanted.some(
        (one) =>
          folder === '' || one === '' || `${folder}/`.startsWith(`${one}/`) || one.startsWith(`${folder}/`),
      ));
  const files: WantedFile[] = [];
  const madeFolders = new Set<string>();
  for (const path of folders.values()) if (path !== '' && isWanted(path)) madeFolders.add(path);
  for await (const batch of readFileLines(source, (line) => mayHold(folders.get(line.parentId)))) {
    options.signal.throwIfAborted();
    const names = await openNames(source, batch);
    for (const node of batch) {
      const folder = folders.get(node.parentId) ?? '';
      const path = joinPath(folder, names.get(node.id) ?? '');
      if (!isWanted(path)) continue;
      files.push({ path, node });
      if (folder !== '') madeFolders.add(folder);
    }
  }
  const [missing] = unmet;
  if (missing !== undefined) {
    throw new HoldfastError('not_found', `The snapshot does not hold ${missing}`, {
      hint: 'Paths are those of the workspace, with / between parts. Nothing was restored.',
    });
  }
  return { files, madeFolders: [...madeFolders].sort() };
}

async function* readFileLines(
  source: { reader: ChunkReader; snapshot: SnapshotRecord },
  mayBeWanted: (line: NodeLine) => boolean,
): AsyncIterable<WantedFile['node'][]> {
  let batch: WantedFile['node'][] = [];
  for await (const line of openSnapshotListing(source.reader, source.snapshot).allNodes()) {
    if (isFileLine(line) && mayBeWanted(line)) batch.push(line);
    if (batch.length < NAME_BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

function isFileLine(line: NodeLine): line is WantedFile['node'] {
  return line.kind === 'file' && line.file != null;
}

/** Makes each part; a link in the place of a folder is refused, because it may lead out of the directory. */
async function makeFolder(top: string, path: string, report: RestoreTreeReport): Promise<void> {
  let at = top;
  try {
    for (const part of path.split('/')) {
      at = join(at, part);
      const made = await mkdir(at).then(
        () => true,
        (error: unknown) => {
          if (isSystemError(error, 'EEXIST')) return false;
          throw error;
        },
      );
      if (made) report.folders += 1;
      else if (!(await lstat(at)).isDirectory()) throw new Error('something else of this name is there');
    }
  } catch (error) {
    if (isSystemError(error, 'ENOSPC', 'EDQUOT')) throw explainWriteError(error, at);
    note(report, path, messageOf(error));
  }
}

/** All at once when they fit; else by the first digit of their random ids, which makes sixteen groups of like size. */
function groupsOf(files: WantedFile[]): WantedFile[][] {
  const storedBytes = files.reduce((sum, { node }) => sum + Number(node.file.storedBytes), 0);
  if (files.length === 0) return [];
  if (storedBytes <= STAGED_BYTES) return [files];
  return [...Map.groupBy(files, ({ node }) => node.file.contentId.charAt(0)).values()];
}

interface Group {
  group: WantedFile[];
  staging: string;
  report: RestoreTreeReport;
  totals: { totalFiles: number; totalBytes: number };
}

async function restoreGroup(
  source: { reader: ChunkReader; snapshot: SnapshotRecord } & TreeKeys,
  options: RestoreTreeOptions,
  { group, staging, report, totals }: Group,
): Promise<void> {
  const section = requireSection(source.snapshot, FILES_SECTION);
  const stored = join(staging, 'stored');
  await rm(stored, { recursive: true, force: true });
  await source.reader.restoreSection(section, stored, {
    paths: group.map(({ node }) => contentPathOf(node)),
    signal: options.signal,
  });
  for (const file of group) {
    options.signal.throwIfAborted();
    try {
      await restoreFile(source, options, join(stored, contentPathOf(file.node)), file, report);
    } catch (error) {
      if (isSystemError(error, 'ENOSPC', 'EDQUOT')) throw explainWriteError(error, options.to);
      const gone = isSystemError(error, 'ENOENT') ? 'its content could not be restored' : messageOf(error);
      note(report, file.path, gone);
    }
    options.progress?.({ files: report.files + report.skipped, bytes: report.bytes, ...totals });
  }
}

async function restoreFile(
  source: TreeKeys,
  options: RestoreTreeOptions,
  stored: string,
  { path, node }: WantedFile,
  report: RestoreTreeReport,
): Promise<void> {
  const final = join(options.to, path);
  if (options.existing === 'skip' && (await exists(final))) {
    report.skipped += 1;
    return;
  }
  await requirePlainFolders(options.to, dirname(path));
  const temporary = temporaryBeside(final);
  try {
    const size = await decryptTo(source, stored, node, temporary);
    const seconds = Number(BigInt(node.mtimeNs) / 1000n) / 1e6;
    await utimes(temporary, seconds, seconds);
    if (options.existing === 'replace') await rename(temporary, final);
    else await link(temporary, final);
    report.files += 1;
    report.bytes += size;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function decryptTo(
  source: TreeKeys,
  stored: string,
  node: WantedFile['node'],
  to: string,
): Promise<number> {
  const { file } = node;
  const context = {
    workspaceId: node.workspaceId,
    subjectKeyId: file.subjectKeyId,
    contentId: file.contentId,
    version: file.version,
  };
  const key = await source.sealer.openFileKey(context, Buffer.from(file.wrappedKey, 'base64'));
  const from = await open(stored, 'r');
  const out = await open(to, 'wx', node.mode ?? 0o600);
  try {
    const { size } = await from.stat();
    const read = async (offset: number, length: number) => {
      const { buffer, bytesRead } = await from.read(Buffer.alloc(length), 0, length, offset);
      return buffer.subarray(0, bytesRead);
    };
    const opened = await openStoredFile({ sizeBytes: size, read }, { ...context, key });
    for await (const part of readVerified(opened)) await out.write(part);
    // The umask of whoever restores must not change what was recorded.
    if (node.mode !== null) await out.chmod(node.mode & 0o777);
    return opened.sizeBytes;
  } finally {
    key.fill(0);
    await from.close();
    await out.close();
  }
}

/** No part of the way may be a link: what was there before, or was put there meanwhile, must not lead elsewhere. */
async function requirePlainFolders(top: string, path: string): Promise<void> {
  if (path === '.') return;
  let at = top;
  for (const part of path.split('/')) {
    at = join(at, part);
    if (!(await lstat(at)).isDirectory()) throw new Error('something else is in the place of its folder');
  }
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

function contentPathOf(node: WantedFile['node']): string {
  return `${node.file.contentId.slice(0, 2)}/${node.file.contentId}`;
}

function joinPath(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}

function note(report: RestoreTreeReport, path: string, reason: string): void {
  report.problemCount += 1;
  if (report.problems.length < MOST_PROBLEMS) report.problems.push({ path, reason });
}
