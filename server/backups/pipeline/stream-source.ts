/**
 * A source whose entries and contents the caller brings, in any order of paths: PostgreSQL's base backup is one.
 * Lines wait in memory until `finish` sorts them, so this is for sources of thousands of files, not millions.
 */
import { HoldfastError } from '../../lib/errors.ts';
import { noteGarbage } from '../../lib/process-memory.ts';
import type {
  ChangedContent,
  FileEntry,
  FileOptions,
  SourceProblem,
  SourceSection,
  StoredContent,
} from '../engine.ts';
import { CHUNK_ID_BYTES, fileHashOf, MAX_CHUNK_BYTES, MAX_INLINE_CHUNKS } from './chunk.ts';
import { cutChunkLists } from './chunk-source.ts';
import { encodeEntry, pathOf } from './file-entry.ts';
import type { ByteString } from './path-bytes.ts';
import { createProblemList } from './problem-list.ts';
import type { WriterCore } from './chunk-writer.ts';
import { storeChanged } from './store-changed.ts';

/** Bytes handed to a thread at once, more or less. */
const BATCH_BYTES = 1024 * 1024;

export interface SourceWriter {
  /** An entry without content, or with chunks that the repository holds (see `ChunkWriter.has`). */
  addEntry(entry: FileEntry): void;
  /**
   * An entry with content; `size`, `chunks` and `hash` are filled in.
   *
   * @returns the entry as it is listed
   */
  addFile(
    entry: FileEntry,
    content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    options: FileOptions,
  ): Promise<FileEntry>;
  /**
   * An entry of which only some chunks are read; the others are those of an earlier snapshot, as far as the repository has them.
   *
   * @returns the entry as it is listed, or undefined when the file is gone: it is not listed then
   */
  addChangedFile(
    entry: FileEntry,
    content: ChangedContent,
    options: FileOptions,
  ): Promise<FileEntry | undefined>;
  addProblem(problem: SourceProblem): void;
  finish(): Promise<SourceSection>;
}

export function openStreamSource(
  core: WriterCore,
  name: string,
  kind: SourceSection['kind'],
  facts: Record<string, unknown>,
): SourceWriter {
  const lines: { path: ByteString; line: string }[] = [];
  const problems = createProblemList();
  const counts = { files: 0, directories: 0, bytes: 0 };
  // Used again from file to file: most are far smaller than a batch.
  const spare: Uint8Array<ArrayBuffer>[] = [];

  const addEntry = (entry: FileEntry): void => {
    lines.push({ path: pathOf(entry), line: encodeEntry(entry) });
    if (entry.type === 'directory') counts.directories++;
    else counts.files++;
    counts.bytes += entry.size ?? 0;
  };

  const list = async (entry: FileEntry, stored: StoredContent, options: FileOptions): Promise<FileEntry> => {
    const complete = { ...entry, ...(await contentKeys(core, stored.size, stored.ids, stored.digests)) };
    addEntry(complete);
    core.progress.add({ filesDone: 1 });
    options.onStored?.(stored);
    return complete;
  };

  return {
    addEntry,
    async addFile(entry, content, options) {
      return list(entry, await storeStream(core, content, options.chunkBytes, spare), options);
    },
    async addChangedFile(entry, content, options) {
      const stored = await storeChanged(core, content, options.chunkBytes);
      return stored === undefined ? undefined : list(entry, stored, options);
    },
    addProblem: (problem) => problems.add(problem.path, problem.reason),
    async finish() {
      core.check();
      lines.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
      const section = core.openSection();
      for (const { path, line } of lines) await section.add(path, line);
      const segments = await section.finish();
      return {
        name,
        kind,
        facts,
        segments,
        fileCount: counts.files,
        directoryCount: counts.directories,
        sizeBytes: counts.bytes,
        problems: problems.listed,
        problemCount: problems.count,
      };
    },
  };
}

/** The part of an entry that says what a file contains. */
export type ContentKeys = Required<Pick<FileEntry, 'size' | 'hash'>> &
  Pick<FileEntry, 'chunks' | 'chunkLists'>;

/**
 * The keys for chunks that are stored; more than 1,000 ids become lists, which are stored here.
 *
 * @param ids,digests 32 bytes per chunk, in order
 */
export async function contentKeys(
  core: WriterCore,
  size: number,
  ids: Uint8Array,
  digests: Uint8Array,
): Promise<ContentKeys> {
  const inline = inlineContentKeys(size, ids, digests);
  if (inline !== undefined) return inline;
  const chunkLists: string[] = [];
  for (const list of cutChunkLists(ids)) {
    const stored = await core.storeBytes('tree', Uint8Array.from(list), MAX_CHUNK_BYTES);
    const [listId] = hexIds(stored.ids);
    if (listId === undefined) throw new HoldfastError('internal', 'A list of chunks was not stored');
    core.options.catalogue.noteSegment(listId, hexIds(list));
    chunkLists.push(listId);
  }
  return { size, chunkLists, hash: fileHashOf(digests).toString('hex') };
}

/** As `contentKeys`, or undefined when lists are needed. */
export function inlineContentKeys(
  size: number,
  ids: Uint8Array,
  digests: Uint8Array,
): ContentKeys | undefined {
  if (ids.length / CHUNK_ID_BYTES > MAX_INLINE_CHUNKS) return undefined;
  const hash = fileHashOf(digests).toString('hex');
  return ids.length === 0 ? { size, hash } : { size, chunks: hexIds(ids), hash };
}

function hexIds(ids: Uint8Array): string[] {
  const bytes = Buffer.from(ids.buffer, ids.byteOffset, ids.length);
  const hex: string[] = [];
  for (let at = 0; at < bytes.length; at += CHUNK_ID_BYTES)
    hex.push(bytes.toString('hex', at, at + CHUNK_ID_BYTES));
  return hex;
}

async function storeStream(
  core: WriterCore,
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  chunkBytes: number,
  spare: Uint8Array<ArrayBuffer>[],
): Promise<StoredContent> {
  if (!Number.isSafeInteger(chunkBytes) || chunkBytes < 1 || chunkBytes > MAX_CHUNK_BYTES) {
    throw new HoldfastError('internal', 'An impossible chunk size was asked for');
  }
  const batchBytes = Math.max(1, Math.floor(BATCH_BYTES / chunkBytes)) * chunkBytes;
  const results: Promise<{ ids: Uint8Array; digests: Uint8Array }>[] = [];
  let batch = spare.pop();
  if (batch?.length !== batchBytes) batch = new Uint8Array(batchBytes);
  let used = 0;
  let size = 0;

  const send = async (data: Uint8Array): Promise<void> => {
    const result = core.storeBytes('data', data, chunkBytes);
    result.catch(() => undefined);
    results.push(result);
    core.progress.add({ bytesDone: data.length });
    if (core.pending >= core.width) await results.at(-core.width);
  };

  for await (const piece of content) {
    core.check();
    size += piece.length;
    for (let at = 0; at < piece.length;) {
      const count = Math.min(batchBytes - used, piece.length - at);
      batch.set(piece.subarray(at, at + count), used);
      used += count;
      at += count;
      if (used < batchBytes) continue;
      used = 0;
      await send(batch.slice());
    }
    noteGarbage(2 * piece.length);
  }
  if (used > 0) await send(batch.slice(0, used));
  spare.push(batch);
  const parts = await Promise.all(results);
  const join = (key: 'ids' | 'digests'): Buffer => Buffer.concat(parts.map((part) => part[key]));
  return { size, ids: join('ids'), digests: join('digests') };
}
