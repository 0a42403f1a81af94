/** A reading thread: fetches and decrypts stretches of packs, checks every chunk, and writes files or nothing. */
import { workerData } from 'node:worker_threads';
import { openTarget } from '../targets/open-target.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { noteGarbage } from '../../lib/process-memory.ts';
import { CHUNK_ID_BYTES } from './chunk.ts';
import { openFileWriter } from './file-writer.ts';
import {
  openPackReader,
  openStoredChunk,
  planSlices,
  SLICE_BUFFER_BYTES,
  type PackReference,
  type Slice,
} from './pack-reader.ts';
import type {
  ContentJob,
  ContentResult,
  PublishJob,
  PublishResult,
  ReadRequest,
  ReadResult,
  ReadThreadData,
  VerifyJob,
  WantedPart,
} from './read-messages.ts';
import { serveThread } from './thread-pool.ts';
import { verifyPack } from './verify-pack.ts';

const data = workerData as ReadThreadData;
const target = await openTarget(data.target);
const packs = openPackReader(target, data.generations);

/** One is worked on while the next is fetched. A thread does one job at a time, so they serve all of them. */
const sliceBuffers = [0, 1].map(() => Buffer.allocUnsafeSlow(SLICE_BUFFER_BYTES));

interface NumberedPart extends WantedPart {
  number: number;
}

async function readContent(job: ContentJob): Promise<{ result: ContentResult; transfer: ArrayBuffer[] }> {
  const digests = new Uint8Array(job.parts.length * CHUNK_ID_BYTES);
  const partErrors: Record<number, string> = {};
  const writer = openFileWriter(job.files);
  try {
    const { secret } = await packs.key(job.pack);
    const numbered = job.parts.map((part, number): NumberedPart => ({ ...part, number }));
    for await (const [slice, plain] of readSlices(job.pack, planSlices(numbered), partErrors, sliceBuffers)) {
      noteGarbage(slice.length);
      for (const part of slice.parts) {
        try {
          const { chunk, digest } = openStoredChunk(slice, plain, part, secret);
          digests.set(digest, part.number * CHUNK_ID_BYTES);
          for (const use of part.uses) writer.write(use, chunk, digest);
          noteGarbage(chunk.length);
        } catch (error) {
          partErrors[part.number] = integrityReason(error);
        }
      }
    }
  } catch (error) {
    // The pack as a whole: gone, foreign, or its header damaged.
    const reason = integrityReason(error);
    for (const number of job.parts.keys()) partErrors[number] ??= reason;
  } finally {
    writer.close();
  }
  return { result: { digests, partErrors, fileErrors: writer.errors }, transfer: [digests.buffer] };
}

/** One slice is fetched ahead. A slice that fails is tried part by part, so that one flipped bit costs one chunk. */
async function* readSlices(
  pack: PackReference,
  slices: Slice<NumberedPart>[],
  partErrors: Record<number, string>,
  buffers: readonly Buffer[] | undefined,
): AsyncIterable<[Slice<NumberedPart>, Buffer]> {
  const fetch = (at: number): Promise<Buffer> | undefined => {
    const slice = slices[at];
    if (slice === undefined) return undefined;
    const fetched = packs.readPlain(pack, slice.offset, slice.length, buffers?.[at % 2]);
    fetched.catch(() => undefined);
    return fetched;
  };
  let next = fetch(0);
  for (const [at, slice] of slices.entries()) {
    const current = next;
    next = fetch(at + 1);
    let plain: Buffer | undefined;
    try {
      plain = await current;
    } catch (error) {
      const reason = integrityReason(error);
      if (slice.parts.length === 1) for (const part of slice.parts) partErrors[part.number] = reason;
      else yield* readSlices(pack, slice.parts.map(aloneInSlice), partErrors, undefined);
    }
    if (plain !== undefined) yield [slice, plain];
  }
}

function aloneInSlice(part: NumberedPart): Slice<NumberedPart> {
  return { offset: part.offset, length: part.storedLength, parts: [part] };
}

/** Damage and absence concern single files; anything else ends the run. */
function integrityReason(error: unknown): string {
  if (error instanceof HoldfastError && ['integrity_failure', 'not_found'].includes(error.code)) {
    return error.detail === undefined ? error.message : `${error.message} (${error.detail})`;
  }
  throw error;
}

function publish(job: PublishJob): PublishResult {
  const writer = openFileWriter([]);
  const errors: Record<number, string> = {};
  for (const [at, file] of job.files.entries()) {
    const error = writer.publish(file);
    if (error !== undefined) errors[at] = error;
  }
  return { errors };
}

async function handle(request: ReadRequest): Promise<{ result: ReadResult; transfer?: ArrayBuffer[] }> {
  switch (request.kind) {
    case 'content':
      return readContent(request);
    case 'publish':
      return { result: publish(request) };
    case 'verify':
      return { result: await verify(request) };
  }
}

async function verify(request: VerifyJob) {
  const generation = data.generations.find((known) => known.generation === request.pack.generation);
  return verifyPack(target, generation, request.pack, request.chunks);
}

serveThread({ handle, close: () => target.close() });
