/**
 * A source whose entries and contents the caller brings, in any order of paths: PostgreSQL's base backup is one.
 * Lines wait in memory until `finish` sorts them, so this is for sources of thousands of files, not millions.
 */
import { HoldfastError } from '../../lib/errors.ts';
import { noteGarbage } from '../../lib/process-memory.ts';
import type { FileEntry, SourceProblem, SourceSection } from '../engine.ts';
import { CHUNK_ID_BYTES, fileHashOf, MAX_CHUNK_BYTES, MAX_INLINE_CHUNKS } from './chunk.ts';
import { cutChunkLists } from './chunk-source.ts';
import { encodeEntry, pathOf } from './file-entry.ts';
import type { ByteString } from './path-bytes.ts';
import { createProblemList } from './problem-list.ts';
import type { WriterCore } from './chunk-writer.ts';

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
    options: { chunkBytes: number },
  ): Promise<FileEntry>;
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

  return {
    addEntry,
    async addFile(entry, content, { chunkBytes }) {
      const stored = await storeStream(core, content, chunkBytes, spare);
      const complete = { ...entry, ...stored };
      addEntry(complete);
      core.progress.add({ filesDone: 1 });
      return complete;
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
): Promise<ContentKeys> {
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
  const ids = Buffer.concat(parts.map((part) => part.ids));
  return contentKeys(core, size, ids, Buffer.concat(parts.map((part) => part.digests)));
}
