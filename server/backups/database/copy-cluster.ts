/**
 * The files of a cluster: PostgreSQL's base backup into a section. Where PostgreSQL can tell what changed since the copy before, of relations
 * only that is read ("Incremental Backup"): it names the changed blocks, and the chunks that hold them are read anew from the running server,
 * which is as good as the backup itself, because recovery goes beyond that moment and brings every page that changed meanwhile whole.
 */
import type { Readable } from 'node:stream';
import type { ClientBase } from 'pg';
import { extract, type Header } from 'tar-stream';
import { HoldfastError } from '../../lib/errors.ts';
import {
  BLOCK_BYTES,
  ChangesUnknown,
  readChangedBlocks,
  readCutRelations,
  readServerFile,
  relationOfFile,
  relationOfIncremental,
  wholeBackupLabel,
  type BaseBackup,
  type BaseBackupEnd,
  type ReplicationConnection,
} from '../../lib/postgres/index.ts';
import type { ChunkingParameters, FileEntry, FileOptions, SourceWriter } from '../engine.ts';
import type { CopyNotes, LastCopy } from './last-copy.ts';

/** A file as tar-stream hands it over. */
type TarEntry = Readable & { header: Header };

/** Tables and indexes with their forks and further parts; everything that PostgreSQL changes in place by the page. */
const RELATION = /^(?:base\/\d+|global)\/\d+(?:_(?:fsm|vm|init))?(?:\.\d+)?$/;
const LABEL = 'backup_label';

export interface CopiedCluster extends BaseBackupEnd {
  /** Where the copy began whose unchanged blocks were taken over. */
  changedSince?: string;
}

interface Scene {
  client: ClientBase;
  replication: ReplicationConnection;
  writer: SourceWriter;
}

interface CopyOptions {
  chunking: ChunkingParameters;
  last?: LastCopy | undefined;
  notes?: CopyNotes;
}

interface Copying extends Scene {
  options: CopyOptions;
  small: ReturnType<typeof createSmallFiles>;
  /** The copy that this one goes on from. */
  last: LastCopy | undefined;
  /** What it says nothing of; asked for once, when the server has read its summaries. */
  cut: Promise<ReadonlySet<string>> | undefined;
}

export async function copyCluster(scene: Scene, options: CopyOptions): Promise<CopiedCluster> {
  const { last } = options;
  if (last !== undefined && (await mayGoOn(scene.client))) {
    const copied = await tryChanged(scene, options, last);
    if (copied !== undefined) return copied;
  }
  return copyBackup(scene.replication.startBaseBackup(), scene, options, undefined);
}

/** Pages that are read after the backup ended may be torn, unless the log brings each of them whole. */
async function mayGoOn(client: ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ whole: string; summarized: string }>(
    `select current_setting('full_page_writes') as whole, current_setting('summarize_wal') as summarized`,
  );
  return rows[0]?.whole === 'on' && rows[0].summarized === 'on';
}

/** @returns undefined when the server cannot tell what changed: nothing was stored then. */
async function tryChanged(
  scene: Scene,
  options: CopyOptions,
  last: LastCopy,
): Promise<CopiedCluster | undefined> {
  try {
    await scene.replication.uploadManifest(last.manifest);
    const ended = await copyBackup(scene.replication.startBaseBackup('changed'), scene, options, last);
    return { ...ended, changedSince: last.startLsn };
  } catch (error) {
    if (error instanceof ChangesUnknown) return undefined;
    throw error;
  }
}

async function copyBackup(
  backup: BaseBackup,
  scene: Scene,
  options: CopyOptions,
  last: LastCopy | undefined,
): Promise<BaseBackupEnd> {
  const { writer } = scene;
  const entries = extract();
  backup.archive.on('error', (error) => entries.destroy(error));
  backup.archive.pipe(entries);
  const small = createSmallFiles(writer);
  const copying: Copying = { ...scene, options, small, last, cut: undefined };
  try {
    for await (const entry of entries as AsyncIterable<TarEntry>) {
      await copyEntry(copying, backup, entry);
    }
    await small.settle();
  } catch (error) {
    backup.archive.destroy();
    throw await causeOf(backup, error);
  }
  const ended = await backup.ended;
  const { startLsn, timeline } = ended;
  options.notes?.base({ startLsn, timeline }, backup.manifest(), last === undefined ? 'whole' : 'changed');
  // Of files that PostgreSQL did not send whole its manifest says nothing true.
  if (last !== undefined) return ended;
  const manifest: FileEntry = { path: 'backup_manifest', type: 'file', mode: 0o600 };
  await writer.addFile(manifest, once(backup.manifest()), { chunkBytes: options.chunking.fileChunkBytes });
  return ended;
}

/** Where the server ended the backup, that says more than what it did to the archive; where we gave it up, our reason does. */
async function causeOf(backup: BaseBackup, error: unknown): Promise<unknown> {
  const ended: unknown = await backup.ended.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  const givenUp = ended instanceof HoldfastError && ended.code === 'cancelled';
  return ended === undefined || givenUp ? error : ended;
}

/** Most files of a cluster have a few pages; waiting for each to be stored would take longer than storing it. */
const SMALL_FILE_BYTES = 512 * 1024;
const SMALL_FILES_AT_ONCE = 16;

function createSmallFiles(writer: SourceWriter) {
  const waiting = new Set<Promise<void>>();
  let failure: Error | undefined;
  return {
    async add(entry: FileEntry, content: AsyncIterable<Uint8Array>, options: FileOptions): Promise<void> {
      const parts: Uint8Array[] = [];
      for await (const part of content) parts.push(part);
      const storing = Promise.resolve(writer.addFile(entry, once(Buffer.concat(parts)), options)).then(
        () => undefined,
        (error: unknown) => void (failure ??= error instanceof Error ? error : new Error(String(error))),
      );
      waiting.add(storing);
      void storing.then(() => waiting.delete(storing));
      if (waiting.size >= SMALL_FILES_AT_ONCE) await Promise.race(waiting);
      if (failure !== undefined) throw failure;
    },
    /** Resolves when all are stored. @throws the first failure */
    async settle(): Promise<void> {
      await Promise.all(waiting);
      if (failure !== undefined) throw failure;
    },
  };
}

async function copyEntry(copying: Copying, backup: BaseBackup, entry: TarEntry): Promise<void> {
  const { writer, small, options } = copying;
  const { header } = entry;
  const path = header.name.replace(/^\.\//, '').replace(/\/$/, '');
  const common = {
    mode: header.mode & 0o7777,
    mtime: `${BigInt(header.mtime.getTime()) * 1_000_000n}`,
  };
  if (header.type === 'file') {
    const relation = copying.last === undefined ? undefined : relationOfIncremental(path);
    if (relation !== undefined) {
      await copyChanged(copying, backup, entry, { ...common, path: relation, type: 'file' });
      return;
    }
    const into = header.size <= SMALL_FILE_BYTES ? small.add : writer.addFile;
    const content = path === LABEL ? readLabel(entry) : entry;
    await into({ ...common, path, type: 'file' }, content, fileOptions(options, path));
    return;
  }
  entry.resume();
  if (header.type !== 'directory') {
    throw new HoldfastError('wrong_state', `The database's folder holds something that is no file: ${path}`);
  }
  await writer.addEntry({ ...common, path, type: 'directory' });
}

function fileOptions({ chunking, notes }: CopyOptions, path: string): FileOptions {
  if (!RELATION.test(path)) return { chunkBytes: chunking.fileChunkBytes };
  return {
    chunkBytes: chunking.relationChunkBytes,
    onStored: (stored) => notes?.relation(path, stored),
  };
}

/** A file of a relation of which the server sends changed blocks only. */
async function copyChanged(
  copying: Copying,
  backup: BaseBackup,
  content: TarEntry,
  entry: FileEntry & { path: string },
): Promise<void> {
  const { client, writer, last, options } = copying;
  const { path } = entry;
  const { length, changed } = await readChangedBlocks(content);
  if (last === undefined) throw new HoldfastError('internal', 'A copy that goes on from nothing');
  const isCut = (await cutRelations(copying, last, backup))?.has(relationOfFile(path)) ?? true;
  await writer.addChangedFile(
    entry,
    {
      size: length * BLOCK_BYTES,
      before: isCut ? undefined : last.find(path),
      isChanged: (from, to) =>
        // From the block that it begins in: a chunk need not hold whole ones.
        (changed[firstFrom(changed, Math.floor(from / BLOCK_BYTES))] ?? Infinity) * BLOCK_BYTES < to,
      read: (offset, bytes) => readServerFile(client, path, offset, bytes),
    },
    fileOptions(options, path),
  );
}

/** @returns undefined for a server that has another timeline by now: its summaries are told apart by that. */
async function cutRelations(
  copying: Copying,
  last: LastCopy,
  backup: BaseBackup,
): Promise<ReadonlySet<string> | undefined> {
  const { startLsn, timeline } = await backup.started;
  if (timeline !== last.timeline) return undefined;
  copying.cut ??= readCutRelations(copying.client, { timeline, from: last.startLsn, to: startLsn });
  return copying.cut;
}

/** Where the first number is that is not below `least`; numbers ascend. */
function firstFrom(numbers: Uint32Array, least: number): number {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((numbers[middle] ?? 0) < least) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function* readLabel(content: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of content) parts.push(part);
  yield wholeBackupLabel(Buffer.concat(parts));
}

async function* once(data: Buffer): AsyncGenerator<Buffer> {
  yield data;
}
