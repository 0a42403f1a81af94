/** A repository in a temporary folder, written with the real codecs but without threads: small, quick, and by hand. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  FileEntry,
  RepositoryWriteKeys,
  SnapshotDraft,
  Target,
  TargetConfig,
  WrittenPack,
} from '../../server/backups/engine.ts';
import { chunkIdsOf, readChunks } from '../../server/backups/pipeline/chunk-source.ts';
import { chunkIdOf, compressChunk, fileHashOf } from '../../server/backups/pipeline/chunk.ts';
import { encodeEntry } from '../../server/backups/pipeline/file-entry.ts';
import { readSegments } from '../../server/backups/pipeline/list-entries.ts';
import {
  createPackBuilder,
  packBufferBytes,
  packName,
  preparePackHeader,
} from '../../server/backups/pipeline/pack.ts';
import { openPackReader } from '../../server/backups/pipeline/pack-reader.ts';
import { createRepository } from '../../server/backups/repository/create-repository.ts';
import { newestGeneration } from '../../server/backups/repository/object-store.ts';
import { openRepository, type Repository } from '../../server/backups/repository/open-repository.ts';
import { openWriter, type RepositoryWriter } from '../../server/backups/repository/writer.ts';
import { openTarget } from '../../server/backups/targets/open-target.ts';
import { createLocalRepositoryKeys, type LocalRepositoryKeys } from '../../server/keys/index.ts';
import type { Clock } from '../../server/lib/clock.ts';

export const HOLDER = 'appliance-1';
const CHUNK_BYTES = 4096;

/** A clock that a test moves; wall and monotonic time go together. */
function createTestClock(start = Date.now()) {
  let ms = start;
  const clock: Clock = { now: () => new Date(ms), monotonicMs: () => ms - start };
  return Object.assign(clock, {
    advance(byMs: number): void {
      ms += byMs;
    },
  });
}
type TestClock = ReturnType<typeof createTestClock>;

export interface Place {
  top: string;
  /** Of the target, where that is a directory. */
  path: string;
  /** Opens the target anew. */
  open(): Promise<Target>;
  local: LocalRepositoryKeys;
  clock: TestClock;
  cataloguePath: string;
  /** False: the target's clock follows the test's. */
  targetKeepsTime: boolean;
  dispose(): Promise<void>;
}

/**
 * A new, empty repository: hint, keys, head 1.
 *
 * @param parent folder that it is made in
 * @param elsewhere another target than a directory in it
 */
export async function createPlace(parent = tmpdir(), elsewhere?: TargetConfig): Promise<Place> {
  const top = await mkdtemp(join(parent, 'holdfast-repository-'));
  const path = join(top, 'target');
  await mkdir(path);
  const config: TargetConfig = elsewhere ?? { kind: 'directory', path };
  const local = await createLocalRepositoryKeys({ chunking: { fileChunkBytes: CHUNK_BYTES } });
  const place: Place = {
    top,
    path,
    open: () => openTarget(config),
    local,
    clock: createTestClock(),
    cataloguePath: join(top, 'catalogue.sqlite'),
    targetKeepsTime: false,
    dispose: () => rm(top, { recursive: true, force: true }),
  };
  await createRepository({
    target: config,
    keys: local.writeKeys,
    keysObject: local.keysObject,
    cataloguePath: place.cataloguePath,
    holder: HOLDER,
    clock: place.clock,
  });
  return place;
}

export interface OpenPlaceOptions {
  writeOnly?: boolean;
  kit?: boolean;
  /** Another file for the catalogue. */
  catalogue?: string;
}

export async function openPlace(place: Place, options: OpenPlaceOptions = {}): Promise<Repository> {
  const { local } = place;
  const target = await place.open();
  const kit = {
    identity: local.kit.identity,
    repositoryId: local.statement.repositoryId,
    trustRoot: local.trustRoot.publicKey,
  };
  const own = options.writeOnly === true ? local.writeOnlyKeys : local.writeKeys;
  const skewed = place.targetKeepsTime ? target : { ...target, now: async () => place.clock.now() };
  return openRepository({
    target: skewed,
    keys: options.kit === true ? kit : own,
    cataloguePath: options.catalogue ?? place.cataloguePath,
  });
}

export function openPlaceWriter(
  place: Place,
  repository: Repository,
  options: Partial<Parameters<typeof openWriter>[1]> = {},
): Promise<RepositoryWriter> {
  return openWriter(repository, {
    keys: place.local.writeKeys,
    holder: HOLDER,
    clock: place.clock,
    ...options,
  });
}

/** Opens, lets `work` write, and closes. */
export async function withWriter<T>(
  place: Place,
  work: (writer: RepositoryWriter, repository: Repository) => Promise<T>,
  options: OpenPlaceOptions & Partial<Parameters<typeof openWriter>[1]> = {},
): Promise<T> {
  const repository = await openPlace(place, options);
  try {
    const writer = await openPlaceWriter(place, repository, options);
    const result = await work(writer, repository);
    await writer.release();
    return result;
  } finally {
    await repository.close();
  }
}

/** Stores files and publishes a snapshot of them with its head. */
export async function takeSnapshot(
  place: Place,
  files: Record<string, Buffer>,
  options: OpenPlaceOptions & { durationMs?: number } = {},
) {
  return withWriter(
    place,
    async (writer, repository) => {
      const draft = await storeFiles(repository, writer, place.local.writeKeys, files, place.clock);
      const snapshot = await writer.publishSnapshot({ ...draft, durationMs: options.durationMs ?? 1000 });
      await writer.publishHead();
      return snapshot;
    },
    options,
  );
}

/** Packs (one for data, one for the file list) → index, as the pipeline does it. */
export async function storeFiles(
  repository: Repository,
  writer: RepositoryWriter,
  keys: RepositoryWriteKeys,
  files: Record<string, Buffer>,
  clock: Clock,
): Promise<SnapshotDraft> {
  const generation = newestGeneration(keys);
  const secret = generation.chunkIdSecret;
  const stored: WrittenPack[] = [];
  const data = new Map<string, Buffer>();
  const entries: FileEntry[] = [{ path: '', type: 'directory', mode: 0o755 }];
  for (const [path, content] of Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const chunks: string[] = [];
    const digests: Buffer[] = [];
    for (let at = 0; at < content.length; at += CHUNK_BYTES) {
      const chunk = content.subarray(at, at + CHUNK_BYTES);
      const digest = createHash('sha256').update(chunk).digest();
      const id = chunkIdOf(secret, digest).toString('hex');
      digests.push(digest);
      chunks.push(id);
      data.set(id, chunk);
    }
    const hash = fileHashOf(Buffer.concat(digests)).toString('hex');
    entries.push({ path, type: 'file', mode: 0o644, size: content.length, chunks, hash });
  }
  const segment = Buffer.from(entries.map(encodeEntry).join(''));
  const digest = createHash('sha256').update(segment).digest();
  const segmentId = chunkIdOf(secret, digest).toString('hex');
  stored.push(...(await storePack(repository, generation, 'data', data)));
  stored.push(...(await storePack(repository, generation, 'tree', new Map([[segmentId, segment]]))));
  repository.catalogue.noteSegment(
    segmentId,
    entries.flatMap((entry) => entry.chunks ?? []),
  );
  await writer.publishIndex(stored);
  const sizeBytes = Object.values(files).reduce((sum, file) => sum + file.length, 0);
  return {
    takenAt: clock.now().toISOString(),
    durationMs: 1000,
    generation: generation.generation,
    keyringEpoch: '0',
    addedBytes: sizeBytes,
    storedBytes: stored.reduce((sum, pack) => sum + pack.sizeBytes, 0),
    facts: { tool: 'test' },
    sections: [
      {
        name: 'files',
        kind: 'directory',
        facts: {},
        segments: [
          {
            first: '',
            chunk: segmentId,
            sha256: digest.toString('hex'),
            lines: entries.length,
            bytes: segment.length,
          },
        ],
        fileCount: entries.length - 1,
        directoryCount: 1,
        sizeBytes,
        problems: [],
        problemCount: 0,
      },
    ],
  };
}

async function storePack(
  repository: Repository,
  generation: ReturnType<typeof newestGeneration>,
  kind: 'data' | 'tree',
  chunks: ReadonlyMap<string, Buffer>,
): Promise<WrittenPack[]> {
  const ids = [...chunks.keys()];
  const known = new Set([...repository.catalogue.ids()].map((id) => Buffer.from(id).toString('hex')));
  const fresh = ids.filter((id) => !known.has(id));
  if (fresh.length === 0) return [];
  const packBytes = 16 * 1024 * 1024;
  const builder = createPackBuilder({
    buffer: Buffer.allocUnsafe(packBufferBytes(packBytes)),
    packBytes,
    kind,
    generation: generation.generation,
    age: await preparePackHeader(generation.recipient),
  });
  for (const id of fresh) {
    const chunk = chunks.get(id) ?? Buffer.alloc(0);
    builder.add(Buffer.from(id, 'hex'), compressChunk(chunk), chunk.length);
  }
  const { bytes, pack } = builder.finish();
  await repository.target.write(packName(pack.id), bytes);
  return [pack];
}

/** The content of every file of a snapshot, each chunk and file hash checked. */
export async function readFiles(repository: Repository, wanted: string): Promise<Record<string, Buffer>> {
  const snapshot = await repository.findSnapshot(wanted);
  const reader = openPackReader(repository.target, repository.keys.generations);
  const files: Record<string, Buffer> = {};
  for (const section of snapshot.sections) {
    for await (const entries of readSegments(section, reader, repository.catalogue)) {
      for (const { entry } of entries) {
        if (entry.type !== 'file') continue;
        const parts: Buffer[] = [];
        const digests: Buffer[] = [];
        const ids: string[] = [];
        for await (const id of chunkIdsOf(entry, reader, repository.catalogue)) ids.push(id);
        for await (const { data, digest } of readChunks(reader, repository.catalogue, ids)) {
          parts.push(data);
          digests.push(digest);
        }
        const content = Buffer.concat(parts);
        const hash = fileHashOf(Buffer.concat(digests)).toString('hex');
        if (hash !== entry.hash) throw new Error(`${entry.path ?? ''} has another hash`);
        files[entry.path ?? ''] = content;
      }
    }
  }
  return files;
}

/** Distinct, incompressible, the same each time. */
export function bytesOf(seed: string, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < size; at += 32) {
    parts.push(
      createHash('sha256')
        .update(`${seed} ${String(at)}`)
        .digest(),
    );
  }
  return Buffer.concat(parts).subarray(0, size);
}

/** Names of all objects on the target. */
export async function listObjects(repository: Repository, prefix = ''): Promise<string[]> {
  const names: string[] = [];
  for await (const object of repository.target.list(prefix)) names.push(object.name);
  return names.sort();
}

/** In this process: what comes after the crash point is not done. */
export function cutOffAt(point: string | undefined): void {
  (globalThis as Record<symbol, unknown>)[Symbol.for('holdfast.crashPoint')] = (reached: string): void => {
    if (reached === point) throw new Error('cut off');
  };
}
