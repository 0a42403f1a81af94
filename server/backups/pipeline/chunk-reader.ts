/** The reader of a repository's content: lists, single files, whole sections, packs. */
import { HoldfastError } from '../../lib/errors.ts';
import type {
  ChunkCatalogue,
  FileEntry,
  RepositoryGeneration,
  SourceSection,
  TargetConfig,
} from '../engine.ts';
import { openTarget } from '../targets/open-target.ts';
import { fileHashOf } from './chunk.ts';
import { chunkIdsOf, readChunks } from './chunk-source.ts';
import { listEntries, type ListFilter } from './list-entries.ts';
import { openPackReader } from './pack-reader.ts';
import {
  restoreSection,
  type RestoreOptions,
  type RestoreReport,
  type SectionReader,
} from './restore-section.ts';

export interface ChunkReader {
  /** In the order asked for, each compared with its id. @throws integrity_failure, not_found, wrong_key */
  readChunks(ids: Iterable<string>): AsyncIterable<Buffer>;
  /** Entries in the order of path bytes; with a filter only the segments that can hold them are read. */
  listEntries(section: Pick<SourceSection, 'segments'>, filter?: ListFilter): AsyncIterable<FileEntry>;
  /** The entry of a path, or undefined. */
  findEntry(section: Pick<SourceSection, 'segments'>, path: string): Promise<FileEntry | undefined>;
  /**
   * The content of a file. Each chunk is checked before it comes; the hash of the whole at the end, so keep what came
   * unpublished until then.
   */
  readFile(entry: FileEntry): AsyncIterable<Buffer>;
  /** @see RestoreOptions */
  restoreSection(
    section: SourceSection,
    toDirectory: string,
    options?: RestoreOptions,
  ): Promise<RestoreReport>;
  /** Reads and checks the content of every file, writes nothing. */
  checkSection(
    section: SourceSection,
    options?: Pick<RestoreOptions, 'paths' | 'signal' | 'progress' | 'clock'>,
  ): Promise<RestoreReport>;
  close(): Promise<void>;
}

export async function openChunkReader(options: {
  target: TargetConfig;
  generations: readonly RepositoryGeneration[];
  catalogue: ChunkCatalogue;
}): Promise<ChunkReader> {
  const target = await openTarget(options.target);
  const { catalogue } = options;
  const packs = openPackReader(target, options.generations);
  const sections: SectionReader = { ...options, packs };

  const list = async function* (
    section: Pick<SourceSection, 'segments'>,
    filter: ListFilter = {},
  ): AsyncIterable<FileEntry> {
    for await (const { entry } of listEntries(section, packs, catalogue, filter)) yield entry;
  };

  return {
    async *readChunks(ids) {
      for await (const { data } of readChunks(packs, catalogue, ids)) yield data;
    },
    listEntries: list,
    async findEntry(section, path) {
      for await (const entry of list(section, { under: path })) {
        return entry.path === path ? entry : undefined;
      }
      return undefined;
    },
    async *readFile(entry) {
      const digests: Buffer[] = [];
      let size = 0;
      for await (const id of chunkIdsOf(entry, packs, catalogue)) {
        for await (const { data, digest } of readChunks(packs, catalogue, [id])) {
          digests.push(digest);
          size += data.length;
          yield data;
        }
      }
      if (fileHashOf(Buffer.concat(digests)).toString('hex') !== entry.hash || size !== entry.size) {
        throw new HoldfastError('integrity_failure', 'A file is not what the snapshot says', {
          detail: entry.path ?? entry.pathB64 ?? '',
        });
      }
    },
    restoreSection: (section, toDirectory, restore = {}) =>
      restoreSection(sections, section, toDirectory, restore),
    checkSection: (section, check = {}) => restoreSection(sections, section, undefined, check),
    close: () => target.close(),
  };
}
