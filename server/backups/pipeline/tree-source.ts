/**
 * The directory source: scans a tree, takes over what did not change since the parent snapshot, and has the rest read.
 *
 * A file counts as unchanged when size, mtime, ctime and inode are those of the parent and it had been left alone for two
 * seconds when the parent's scan began: a file that was touched later may have changed again within one tick of its clock.
 * What vanished, grew, shrank or could not be read is listed as a problem of the section, never left out silently.
 */
import { existsSync, readFileSync } from 'node:fs';
import { HoldfastError } from '../../lib/errors.ts';
import { openTarget } from '../targets/open-target.ts';
import type { FileEntry, SourceSection } from '../engine.ts';
import type { WriterCore } from './chunk-writer.ts';
import { encodeEntry, pathKeys, targetKeys } from './file-entry.ts';
import { openExtentReader, type ExtentReader } from './extent-reader.ts';
import { openPackReader } from './pack-reader.ts';
import { openParentCursor, type ParentCursor } from './parent-cursor.ts';
import { byteStringOf, type ByteString } from './path-bytes.ts';
import { createProblemList, type ProblemList } from './problem-list.ts';
import { scanDirectory, type ScannedEntry } from './scan-directory.ts';
import { turn } from './thread-pool.ts';

/** How long the scan may go on before other work of this thread gets its turn. */
const SLICE_MS = 8;
/** Entries that may wait for their content; bounds memory. */
const MOST_WAITING = 4096;
/** @see REPOSITORY: "one touched within 2 s of its last read is [read again]" */
const SETTLED_NS = 2_000_000_000n;

export interface TreeOptions {
  /** Name of the source in the snapshot. */
  name: string;
  /** The same source in an earlier snapshot. */
  parent?: SourceSection;
  /** Absolute paths that are left out. The target's own folder always is. */
  exclude?: readonly string[];
  /** Names that start so are left out. */
  excludePrefix?: string;
  /** More to say about the source. */
  facts?: Record<string, unknown>;
}

/** An entry whose line is written when those before it are. */
export interface WaitingEntry {
  path: ByteString;
  entry: FileEntry;
  /** False while its content is read. */
  ready: boolean;
  /** Vanished meanwhile: reported, not listed. */
  gone: boolean;
}

interface TreeRun {
  core: WriterCore;
  waiting: WaitingEntry[];
  /** Entries of `waiting` before this one are written. */
  written: number;
  section: ReturnType<WriterCore['openSection']>;
  problems: ProblemList;
  counts: { files: number; directories: number; bytes: number; excluded: number; unchanged: number };
}

export async function addTree(core: WriterCore, root: string, options: TreeOptions): Promise<SourceSection> {
  if (!root.startsWith('/') || root.includes('\0')) {
    throw new HoldfastError('invalid_input', 'The folder to back up must be given by its absolute path');
  }
  core.check();
  core.progress.step('reading files');
  const scanStartedAt = BigInt(core.clock.now().getTime()) * 1_000_000n;
  const target = await openTarget(core.options.target);
  try {
    const run: TreeRun = {
      core,
      waiting: [],
      written: 0,
      section: core.openSection(),
      problems: createProblemList(),
      counts: { files: 0, directories: 0, bytes: 0, excluded: 0, unchanged: 0 },
    };
    const packs = openPackReader(target, core.options.generations ?? [core.options.generation]);
    const parent = readableParent(core, options.parent);
    const cursor = openParentCursor(parent, packs, core.options.catalogue);
    await scanAll(run, root, options, cursor);
    const segments = await run.section.finish();
    return {
      name: options.name,
      kind: 'directory',
      facts: {
        ...options.facts,
        root,
        scanStartedAt: String(scanStartedAt),
        excluded: run.counts.excluded,
        unchangedFiles: run.counts.unchanged,
        // Node can read neither; said once here instead of once a file.
        notRecorded: ['xattrs', 'acl'],
      },
      segments,
      fileCount: run.counts.files,
      directoryCount: run.counts.directories,
      sizeBytes: run.counts.bytes,
      problems: run.problems.listed,
      problemCount: run.problems.count,
    };
  } finally {
    await target.close();
  }
}

/** Without a key for the file lists (write-only use) every file is read; its chunks are still not stored twice. A parent is of the same generation. */
function readableParent(core: WriterCore, parent: SourceSection | undefined): SourceSection | undefined {
  const { generation, generations = [] } = core.options;
  const own = generations.find((one) => one.generation === generation.generation) ?? generation;
  return own.identity === undefined ? undefined : parent;
}

async function scanAll(
  run: TreeRun,
  root: string,
  options: TreeOptions,
  cursor: ParentCursor,
): Promise<void> {
  const { core, problems, counts } = run;
  const extents = openExtentReader(core, problems);
  const names = readAccountNames();
  const links = new Map<string, { waiting: WaitingEntry; left: number }>();
  const { target } = core.options;
  // A copy of the copy: only where the target is a folder of this machine.
  const own = target.kind === 'directory' ? [target.path] : [];
  const exclude = [...own, ...(options.exclude ?? [])].map(withoutSlash);
  let sliceStartedMs = core.clock.monotonicMs();
  try {
    for (const scanned of scanDirectory({
      root: withoutSlash(root),
      exclude,
      excludePrefix: options.excludePrefix,
    })) {
      if (core.clock.monotonicMs() - sliceStartedMs > SLICE_MS) {
        await flushReady(run);
        await turn();
        core.check();
        sliceStartedMs = core.clock.monotonicMs();
      }
      if ('problem' in scanned) problems.add(scanned.path, scanned.problem);
      else if ('excluded' in scanned) counts.excluded++;
      else await take(run, scanned, { extents, names, links, cursor });
    }
    await extents.finish();
    await flushReady(run);
  } finally {
    await extents.settle();
  }
}

function withoutSlash(path: string): ByteString {
  const bytes = byteStringOf(path).replace(/\/+$/, '');
  return bytes === '' ? '/' : bytes;
}

interface TakeParts {
  extents: ExtentReader;
  names: AccountNames;
  links: Map<string, { waiting: WaitingEntry; left: number }>;
  cursor: ParentCursor;
}

async function take(run: TreeRun, scanned: ScannedEntry, parts: TakeParts): Promise<void> {
  const { counts } = run;
  const entry = describe(scanned, parts.names);
  const waiting: WaitingEntry = { path: scanned.path, entry, ready: true, gone: false };
  if (scanned.type === 'directory') counts.directories++;
  else counts.files++;
  if (scanned.type === 'file') {
    const { stats } = scanned;
    const linked = entry.linkGroup === undefined ? undefined : parts.links.get(entry.linkGroup);
    if (linked !== undefined && entry.linkGroup !== undefined) {
      if (--linked.left === 0) parts.links.delete(entry.linkGroup);
      parts.extents.copy(linked.waiting, waiting);
    } else {
      if (entry.linkGroup !== undefined) {
        parts.links.set(entry.linkGroup, { waiting, left: Number(stats.nlink) - 1 });
      }
      const unchanged = await findUnchanged(run.core, scanned, entry, parts.cursor);
      if (unchanged === undefined) await parts.extents.read(scanned, waiting);
      else {
        Object.assign(entry, unchanged);
        counts.unchanged++;
        run.core.progress.add({ filesDone: 1, bytesDone: entry.size ?? 0 });
      }
    }
  }
  run.waiting.push(waiting);
  if (run.waiting.length - run.written < MOST_WAITING) return;
  await flushReady(run);
  while (run.waiting.length - run.written >= MOST_WAITING) {
    await extentsMove(parts.extents);
    await flushReady(run);
  }
}

async function extentsMove(extents: ExtentReader): Promise<void> {
  await extents.dispatch();
  await extents.oneDone();
}

/** Writes the lines of all entries up to the first whose content is still being read. */
async function flushReady(run: TreeRun): Promise<void> {
  const { waiting, section, counts } = run;
  while (run.written < waiting.length) {
    const next = waiting[run.written];
    if (!next?.ready) break;
    run.written++;
    if (next.gone) {
      counts.files--;
      continue;
    }
    counts.bytes += next.entry.type === 'file' ? (next.entry.size ?? 0) : 0;
    const full = section.add(next.path, encodeEntry(next.entry));
    if (full !== undefined) await full;
  }
  if (run.written < 1024) return;
  waiting.splice(0, run.written);
  run.written = 0;
}

/** The content keys of the parent's entry when the file is the same. */
async function findUnchanged(
  core: WriterCore,
  scanned: ScannedEntry,
  entry: FileEntry,
  cursor: ParentCursor,
): Promise<Partial<FileEntry> | undefined> {
  const before = cursor.find(scanned.path);
  const known = before instanceof Promise ? await before : before;
  if (known?.type !== 'file' || known.hash === undefined) return undefined;
  if (known.size !== entry.size || known.mtime !== entry.mtime) return undefined;
  if (known.ctime !== entry.ctime || known.inode !== entry.inode) return undefined;
  if (scanned.stats.ctimeNs > cursor.settledBefore(SETTLED_NS)) return undefined;
  const needed = [...(known.chunks ?? []), ...(known.chunkLists ?? [])];
  if (!needed.every((id) => core.has(Buffer.from(id, 'hex')))) return undefined;
  return {
    ...(known.holes === undefined ? {} : { holes: known.holes }),
    ...(known.chunks === undefined ? {} : { chunks: known.chunks }),
    ...(known.chunkLists === undefined ? {} : { chunkLists: known.chunkLists }),
    hash: known.hash,
  };
}

function describe(scanned: ScannedEntry, names: AccountNames): FileEntry {
  const { stats, type } = scanned;
  const uid = Number(stats.uid);
  const gid = Number(stats.gid);
  const user = names.users.get(uid);
  const group = names.groups.get(gid);
  const entry: FileEntry = {
    ...pathKeys(scanned.path),
    type,
    mode: Number(stats.mode & 0o7777n),
    uid,
    gid,
    ...(user === undefined ? {} : { user }),
    ...(group === undefined ? {} : { group }),
    mtime: String(stats.mtimeNs),
  };
  if (type === 'file') {
    entry.ctime = String(stats.ctimeNs);
    entry.inode = String(stats.ino);
    entry.size = Number(stats.size);
    if (stats.nlink > 1n) {
      entry.device = String(stats.dev);
      entry.linkGroup = `${stats.dev}:${stats.ino}`;
    }
  }
  if (scanned.target !== undefined) Object.assign(entry, targetKeys(scanned.target));
  if (type === 'char-device' || type === 'block-device') entry.rdev = String(stats.rdev);
  return entry;
}

interface AccountNames {
  users: ReadonlyMap<number, string>;
  groups: ReadonlyMap<number, string>;
}

/** Names from the local files only; accounts of a directory service are recorded by number. */
function readAccountNames(): AccountNames {
  return { users: readNames('/etc/passwd'), groups: readNames('/etc/group') };
}

function readNames(path: string): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  for (const line of text.split('\n')) {
    const [name, , id] = line.split(':');
    if (name !== undefined && id !== undefined && /^\d+$/.test(id)) names.set(Number(id), name);
  }
  return names;
}
