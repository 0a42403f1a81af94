/** Puts stored files that are new on a target, and the object that lists them: before the log that names them. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { crashPoint } from '../../lib/crash-point.ts';
import { isSystemError } from '../../lib/errors.ts';
import type { ChunkCatalogue, RepositoryWriteKeys, Target, WrittenPack } from '../engine.ts';
import { sha256Of } from '../objects/object-names.ts';
import { openChunkWriter } from '../pipeline/chunk-writer.ts';
import { newestGeneration, publish, sealObject } from '../repository/object-store.ts';
import { encodeBornFiles, MAX_BORN_BYTES, MAX_BORN_FILES } from './born-object.ts';
import { bornName } from './wal-names.ts';

/** Stored files are encrypted, each under a key of its own: nothing in the repository can be equal to them. */
const NOTHING_KNOWN: ChunkCatalogue = {
  locate: (ids) => ids.map(() => undefined),
  ids: () => [],
  count: () => 0,
  noteSegment: () => undefined,
};

export interface BornDelivery {
  number: number;
  sha256: string;
  packs: WrittenPack[];
  /** What was sent, and what was gone before it could be. */
  contents: string[];
}

/**
 * Sends the first of these contents, as many as one object lists.
 *
 * @param files the store.
 * @returns what was sent; the rest is for another call.
 */
export async function shipBornFiles(
  place: {
    target: Target;
    keys: RepositoryWriteKeys;
    files: string;
    now: Date;
    signal: AbortSignal;
    answered: () => void;
  },
  number: number,
  contents: readonly string[],
): Promise<BornDelivery> {
  const { target, keys } = place;
  const generation = newestGeneration(keys);
  const packs: WrittenPack[] = [];
  const writer = openChunkWriter({
    target: target.config,
    generation,
    catalogue: NOTHING_KNOWN,
    onPacks: async (written) => {
      packs.push(...written);
      place.answered();
    },
    signal: place.signal,
    threads: 1,
  });
  try {
    const source = writer.openSource('files', 'directory', {});
    const taken: string[] = [];
    let bytes = 0;
    const folders = new Set(['']);
    for (const content of contents) {
      if (taken.length >= MAX_BORN_FILES || bytes >= MAX_BORN_BYTES) break;
      taken.push(content);
      const folder = content.slice(0, 2);
      const path = join(place.files, folder, content);
      const found = await stat(path, { bigint: true }).catch(gone);
      // Deleted and collected meanwhile: whoever named it does so no more.
      if (found === undefined) continue;
      folders.add(folder);
      bytes += Number(found.size);
      const entry = {
        path: `${folder}/${content}`,
        type: 'file' as const,
        mode: 0o600,
        mtime: String(found.mtimeNs),
      };
      await source.addFile(entry, createReadStream(path), { chunkBytes: generation.chunking.fileChunkBytes });
    }
    for (const path of folders) source.addEntry({ path, type: 'directory', mode: 0o700 });
    const section = await source.finish();
    await writer.finish();
    crashPoint('backups.wal.born-packs-written');
    const born = { number, createdAt: place.now.toISOString(), packs, section };
    const stored = await sealObject(await encodeBornFiles(keys.repositoryId, born, keys), keys);
    const sha256 = sha256Of(stored);
    await publish(target, bornName({ number, sha256 }), stored, 'backups.wal.born');
    return { number, sha256, packs, contents: taken };
  } finally {
    await writer.abort();
  }
}

function gone(error: unknown): undefined {
  if (isSystemError(error, 'ENOENT')) return undefined;
  throw error;
}
