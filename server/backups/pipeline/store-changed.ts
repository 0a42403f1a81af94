/** Content of which an earlier snapshot has most: chunks that did not change are taken over, the others are read and stored. */
import { HoldfastError } from '../../lib/errors.ts';
import type { ChangedContent, StoredContent } from '../engine.ts';
import { CHUNK_ID_BYTES } from './chunk.ts';
import type { WriterCore } from './chunk-writer.ts';

/** Bytes that are read at once, more or less. */
const READ_BYTES = 1024 * 1024;

/** @returns undefined when the file is gone. */
export async function storeChanged(
  core: WriterCore,
  content: ChangedContent,
  chunkBytes: number,
): Promise<StoredContent | undefined> {
  const { size, before } = content;
  const count = Math.ceil(size / chunkBytes);
  const ids = Buffer.alloc(count * CHUNK_ID_BYTES);
  const digests = Buffer.alloc(count * CHUNK_ID_BYTES);
  const storing: Promise<void>[] = [];

  const isKept = (index: number): boolean => {
    const [from, to] = extentOf(index, chunkBytes, size);
    if (before === undefined || extentOf(index, chunkBytes, before.size)[1] !== to) return false;
    return !content.isChanged(from, to) && core.has(elementOf(before.ids, index));
  };

  for (let index = 0; index < count;) {
    core.check();
    if (before !== undefined && isKept(index)) {
      elementOf(before.ids, index).copy(ids, index * CHUNK_ID_BYTES);
      elementOf(before.digests, index).copy(digests, index * CHUNK_ID_BYTES);
      index += 1;
      continue;
    }
    const first = index;
    do index += 1;
    while (index < count && (index + 1 - first) * chunkBytes <= READ_BYTES && !isKept(index));
    const from = first * chunkBytes;
    const length = Math.min(size, index * chunkBytes) - from;
    const data = await content.read(from, length);
    if (data === undefined) return undefined;
    const stored = store(core, filledUp(data, length), chunkBytes, {
      ids,
      digests,
      at: first * CHUNK_ID_BYTES,
    });
    stored.catch(() => undefined);
    storing.push(stored);
    if (core.pending >= core.width) await storing.at(-core.width);
  }
  core.progress.add({ bytesDone: size });
  await Promise.all(storing);
  return { size, ids, digests };
}

async function store(
  core: WriterCore,
  data: Uint8Array,
  chunkBytes: number,
  into: { ids: Buffer; digests: Buffer; at: number },
): Promise<void> {
  const stored = await core.storeBytes('data', data, chunkBytes);
  into.ids.set(stored.ids, into.at);
  into.digests.set(stored.digests, into.at);
}

function extentOf(index: number, chunkBytes: number, size: number): [number, number] {
  return [index * chunkBytes, Math.min((index + 1) * chunkBytes, size)];
}

function elementOf(list: Uint8Array, index: number): Buffer {
  return Buffer.from(list.buffer, list.byteOffset + index * CHUNK_ID_BYTES, CHUNK_ID_BYTES);
}

/** A file that was cut meanwhile: the log cuts it again, and until then these are pages that were never used. */
function filledUp(data: Uint8Array, length: number): Uint8Array {
  if (data.length > length) throw new HoldfastError('internal', 'More was read than was asked for');
  const whole = new Uint8Array(length);
  whole.set(data);
  return whole;
}
