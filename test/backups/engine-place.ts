/** A target, keys and a catalogue in memory: what the pipeline needs of a repository, without the repository. */
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  ChunkCatalogue,
  ChunkLocation,
  SourceSection,
  DirectoryConfig,
  WrittenPack,
} from '../../server/backups/engine.ts';
import {
  openChunkReader,
  openChunkWriter,
  type ChunkReader,
  type ChunkWriterOptions,
  type TreeOptions,
  type WriteTotals,
} from '../../server/backups/pipeline/index.ts';
import { createLocalRepositoryKeys, type RepositoryGeneration } from '../../server/keys/index.ts';
import type { Clock } from '../../server/lib/clock.ts';

export interface MemoryCatalogue extends ChunkCatalogue {
  packs: WrittenPack[];
  add(packs: readonly WrittenPack[]): void;
  /** As if an index had lost it. */
  drop(id: string): void;
}

export function createMemoryCatalogue(): MemoryCatalogue {
  const chunks = new Map<string, ChunkLocation>();
  const packs: WrittenPack[] = [];
  return {
    packs,
    add(added) {
      for (const pack of added) {
        packs.push(pack);
        const { id: packId, sizeBytes: packSizeBytes, headerLength, generation } = pack;
        for (const { id, offset, storedLength, originalLength } of pack.chunks) {
          const place = { packId, packSizeBytes, headerLength, generation };
          chunks.set(id, { ...place, offset, storedLength, originalLength });
        }
      }
    },
    drop: (id) => void chunks.delete(id),
    locate: (ids) => ids.map((id) => chunks.get(id)),
    *ids() {
      for (const id of chunks.keys()) yield Buffer.from(id, 'hex');
    },
    count: () => chunks.size,
    noteSegment: () => undefined,
  };
}

export interface EnginePlace {
  top: string;
  /** A folder for the tree to back up; made. */
  tree: string;
  target: DirectoryConfig;
  generation: RepositoryGeneration;
  catalogue: MemoryCatalogue;
  clock: Clock & { advance(ms: number): void };
  backUp(
    options?: Partial<TreeOptions> & Partial<Pick<ChunkWriterOptions, 'signal' | 'onPacks' | 'generation'>>,
  ): Promise<{ section: SourceSection; totals: WriteTotals }>;
  reader(): Promise<ChunkReader>;
  packPath(id: string): string;
  dispose(): Promise<void>;
}

export async function createEnginePlace(
  chunking: Partial<RepositoryGeneration['chunking']> = {},
): Promise<EnginePlace> {
  const top = await mkdtemp(join(tmpdir(), 'holdfast-engine-'));
  const tree = join(top, 'tree');
  const target: DirectoryConfig = { kind: 'directory', path: join(top, 'target') };
  mkdirSync(tree);
  mkdirSync(join(target.path, 'keys'), { recursive: true });
  const local = await createLocalRepositoryKeys({ chunking });
  const [generation] = local.writeKeys.generations;
  if (generation === undefined) throw new Error('no generation');
  const catalogue = createMemoryCatalogue();
  // A day on, so that files made just now count as settled.
  let ms = Date.now() + 86_400_000;
  const clock = {
    now: () => new Date(ms),
    monotonicMs: () => performance.now(),
    advance: (by: number) => void (ms += by),
  };
  const readers: ChunkReader[] = [];
  return {
    top,
    tree,
    target,
    generation,
    catalogue,
    clock,
    async backUp(options = {}) {
      const { signal, onPacks, generation: other, ...rest } = options;
      const writer = openChunkWriter({
        target,
        generation: other ?? generation,
        catalogue,
        onPacks: onPacks ?? (async (packs) => catalogue.add(packs)),
        clock,
        ...(signal === undefined ? {} : { signal }),
      });
      try {
        const section = await writer.addTree(tree, { name: 'tree', ...rest });
        return { section, totals: await writer.finish() };
      } finally {
        await writer.abort();
      }
    },
    async reader() {
      const reader = await openChunkReader({ target, generations: [generation], catalogue });
      readers.push(reader);
      return reader;
    },
    packPath: (id) => join(target.path, 'packs', id.slice(0, 2), `${id}.age`),
    async dispose() {
      for (const reader of readers) await reader.close();
      await rm(top, { recursive: true, force: true });
    },
  };
}

/** What a tree looks like, name bytes and all. */
export interface TreeDescription {
  lines: Record<string, string>;
  mtimes: Map<string, bigint>;
}

/** Restored times may differ by what a double of seconds cannot hold: a quarter of a microsecond. */
export function mostTimeDifference(left: TreeDescription, right: TreeDescription): number {
  let most = 0;
  for (const [path, time] of left.mtimes) {
    most = Math.max(most, Math.abs(Number(time - (right.mtimes.get(path) ?? 0n))));
  }
  return most;
}

export function describeTree(root: string): TreeDescription {
  const lines: Record<string, string> = {};
  const mtimes = new Map<string, bigint>();
  const walk = (directory: Buffer, relative: string): void => {
    for (const name of readdirSync(directory, { encoding: 'buffer' })) {
      const path = Buffer.concat([directory, Buffer.from('/'), name]);
      const key = `${relative}/${name.toString('latin1')}`;
      const stats = lstatSync(path, { bigint: true });
      const about = `${(stats.mode & 0o7777n).toString(8)} ${stats.uid}:${stats.gid}`;
      mtimes.set(key, stats.mtimeNs);
      if (stats.isDirectory()) {
        lines[key] = `directory ${about}`;
        walk(path, key);
      } else if (stats.isSymbolicLink()) {
        lines[key] = `symlink ${readlinkSync(path, { encoding: 'buffer' }).toString('latin1')}`;
      } else if (stats.isFile()) {
        const content = readFileSync(path);
        const hash = createHash('sha256').update(content).digest('hex');
        lines[key] = `file ${about} ${content.length} ${hash} links ${stats.nlink}`;
      } else lines[key] = 'special';
    }
  };
  walk(Buffer.from(root), '');
  return { lines, mtimes };
}

/** A file under a name of any bytes. */
export function writeBytesNamed(directory: string, name: Buffer, content: string | Uint8Array): void {
  writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), name]), content);
}
