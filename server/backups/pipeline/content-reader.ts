/**
 * Gathers the chunks that files need into jobs, one pack each, and follows every file until its content is complete.
 *
 * Works in windows: files are taken in the order of the list until a window is full, then its chunks are looked up and
 * sorted by pack. Packs were filled in about the same order, so a window touches few of them; memory is one window.
 */
import { HoldfastError } from '../../lib/errors.ts';
import type { ChunkCatalogue } from '../engine.ts';
import { CHUNK_ID_BYTES, fileHashOf } from './chunk.ts';
import type { LocatedChunk } from './chunk-source.ts';
import type { Ownership } from './file-metadata.ts';
import type { ByteString } from './path-bytes.ts';
import type {
  ContentJob,
  ContentResult,
  PublishJob,
  PublishResult,
  ReadRequest,
  ReadResult,
  WantedFile,
} from './read-messages.ts';
import type { ThreadPool } from './thread-pool.ts';
import { createFirstFailure } from './first-failure.ts';

const WINDOW_BYTES = 64 * 1024 * 1024;
const WINDOW_CHUNKS = 4096;
/** Content of one job; bounds how unevenly two threads finish. */
const JOB_BYTES = 16 * 1024 * 1024;
const PUBLISH_BATCH = 64;

export interface RestoringFile {
  path: ByteString;
  size: number;
  /** Hex file hash. */
  hash: string;
  holes: [number, number][];
  linkGroup: string | undefined;
  /** Undefined: checked only. */
  destination: { staging: ByteString; final: ByteString; metadata: Ownership } | undefined;
  /** Hex chunk ids in order. */
  ids: readonly string[] | AsyncIterable<string>;
}

export interface ContentReader {
  /** @returns a problem when the file's chunks do not fit its line; else its end comes by `onFile` */
  add(file: RestoringFile): Promise<string | undefined>;
  /** Everything read, written and named. @throws what ended the run */
  finish(): Promise<void>;
  /** Waits until nothing is under way, whatever failed. */
  settle(): Promise<void>;
}

interface FileState extends RestoringFile {
  /** Chunks still to come, and whether all are known. */
  open: number;
  complete: boolean;
  /** SHA-256 of each chunk. */
  digests: Buffer;
  length: number;
  problem: string | undefined;
  /** Of one chunk: written, verified and named by the thread in one go. Decided when its job is sent. */
  whole: boolean;
}

interface WindowChunk {
  id: string;
  file: FileState;
  /** Number of the chunk in its file. */
  index: number;
}

/** One use of a chunk, with its place in the file. */
interface PlacedUse {
  file: FileState;
  index: number;
  position: number;
}

interface PlannedPart {
  location: LocatedChunk;
  uses: PlacedUse[];
}

export function openContentReader(parts: {
  pool: ThreadPool<ReadRequest, ReadResult>;
  catalogue: ChunkCatalogue;
  /** Staging files that have no name yet; for whoever cleans up. */
  staged: Set<ByteString>;
  /** @throws cancelled */
  check: () => void;
  onFile: (file: { path: ByteString; linkGroup: string | undefined; problem: string | undefined }) => void;
  onBytes: (bytes: number) => void;
}): ContentReader {
  const { pool, catalogue, staged, check, onFile, onBytes } = parts;
  const underWay = new Set<Promise<void>>();
  let window: WindowChunk[] = [];
  let windowBytes = 0;
  const toPublish: FileState[] = [];
  const failure = createFirstFailure();

  const submit = async (request: ReadRequest, settleResult: (result: ReadResult) => void): Promise<void> => {
    await room(pool.width - 1);
    const way: Promise<void> = pool
      .run(request)
      .then(settleResult)
      .catch((error: unknown) => {
        failure.note(error);
      })
      .finally(() => underWay.delete(way));
    underWay.add(way);
  };
  const room = async (most: number): Promise<void> => {
    while (underWay.size > most && !failure.failed) await Promise.race(underWay);
    failure.check();
    check();
  };

  const end = (file: FileState): void => {
    if (file.destination !== undefined && file.problem === undefined) staged.delete(file.destination.staging);
    onFile(file);
  };

  /** All chunks of a file have come. */
  const settleFile = (file: FileState): void => {
    if (file.problem === undefined && file.length !== file.size)
      file.problem = 'its content has another length';
    const hash = fileHashOf(file.digests).toString('hex');
    if (file.problem === undefined && hash !== file.hash) {
      file.problem = 'its content is not what the snapshot says';
    }
    if (file.destination === undefined || file.problem !== undefined || file.whole) end(file);
    else toPublish.push(file);
  };

  const publishStaged = async (least: number): Promise<void> => {
    while (toPublish.length >= least && toPublish.length > 0) {
      const files = toPublish.splice(0, PUBLISH_BATCH);
      await submit(publishJob(files), (result) => {
        for (const [at, file] of files.entries()) {
          file.problem = (result as PublishResult).errors[at];
          end(file);
        }
      });
    }
  };

  const settleJob = (
    planned: readonly PlannedPart[],
    numbers: Map<FileState, number>,
    result: ContentResult,
  ): void => {
    for (const [at, { location, uses }] of planned.entries()) {
      const digest = result.digests.subarray(at * CHUNK_ID_BYTES, (at + 1) * CHUNK_ID_BYTES);
      for (const { file, index } of uses) {
        file.digests.set(digest, index * CHUNK_ID_BYTES);
        file.problem ??= result.partErrors[at] ?? result.fileErrors[numbers.get(file) ?? -1];
        onBytes(location.originalLength);
        if (--file.open === 0 && file.complete) settleFile(file);
      }
    }
  };

  const sendWindow = async (): Promise<void> => {
    const chunks = window;
    window = [];
    windowBytes = 0;
    for (const planned of planJobs(chunks, catalogue, settleFile)) {
      const { job, numbers } = jobOf(planned);
      for (const file of numbers.keys())
        if (file.destination !== undefined) staged.add(file.destination.staging);
      await submit(job, (result) => settleJob(planned, numbers, result as ContentResult));
      await publishStaged(PUBLISH_BATCH);
    }
  };

  return {
    async add(file) {
      const state: FileState = {
        ...file,
        open: 0,
        complete: false,
        digests: Buffer.alloc(0),
        length: 0,
        problem: undefined,
        whole: false,
      };
      let count = 0;
      // One more than there are, so that the file cannot end before its last chunk is known.
      state.open = 1;
      for await (const id of file.ids) {
        if (!/^[0-9a-f]{64}$/.test(id)) return 'its line in the file list is damaged';
        window.push({ id, file: state, index: count++ });
        state.open++;
        if (state.digests.length < count * CHUNK_ID_BYTES) state.digests = grown(state.digests);
        windowBytes += Math.min(file.size, 1024 * 1024);
        if (window.length >= WINDOW_CHUNKS || windowBytes >= WINDOW_BYTES) await sendWindow();
      }
      state.digests = state.digests.subarray(0, count * CHUNK_ID_BYTES);
      state.complete = true;
      if (--state.open === 0) {
        if (state.destination !== undefined) staged.add(state.destination.staging);
        settleFile(state);
        await publishStaged(PUBLISH_BATCH);
      }
      return undefined;
    },
    async finish() {
      await sendWindow();
      await room(0);
      await publishStaged(1);
      await room(0);
    },
    async settle() {
      while (underWay.size > 0) await Promise.race(underWay);
    },
  };
}

function grown(buffer: Buffer): Buffer {
  const larger = Buffer.alloc(Math.max(CHUNK_ID_BYTES, buffer.length * 2));
  buffer.copy(larger);
  return larger;
}

function publishJob(files: readonly FileState[]): PublishJob {
  return {
    kind: 'publish',
    files: files.flatMap(({ destination, size }) =>
      destination === undefined ? [] : [{ ...destination, size }],
    ),
  };
}

/** Jobs of a window: by pack, in order of offset. Chunks that are in no index end their files with a problem. */
function* planJobs(
  window: readonly WindowChunk[],
  catalogue: ChunkCatalogue,
  settleFile: (file: FileState) => void,
): Iterable<PlannedPart[]> {
  const locations = catalogue.locate(window.map(({ id }) => id));
  const byPack = new Map<string, Map<string, PlannedPart>>();
  for (const [at, { id, file, index }] of window.entries()) {
    const location = locations[at];
    const position = file.length;
    if (location === undefined) {
      file.problem ??= `a part of it is in no index (chunk ${id})`;
      if (--file.open === 0 && file.complete) settleFile(file);
      continue;
    }
    file.length += location.originalLength;
    const parts = byPack.get(location.packId) ?? new Map<string, PlannedPart>();
    byPack.set(location.packId, parts);
    const part = parts.get(id) ?? { location: { id, ...location }, uses: [] };
    parts.set(id, part);
    part.uses.push({ file, index, position });
  }
  for (const parts of byPack.values()) {
    yield* cutJobs([...parts.values()].sort((a, b) => a.location.offset - b.location.offset));
  }
}

function* cutJobs(parts: readonly PlannedPart[]): Iterable<PlannedPart[]> {
  let job: PlannedPart[] = [];
  let bytes = 0;
  for (const part of parts) {
    job.push(part);
    bytes += part.location.originalLength;
    if (bytes < JOB_BYTES) continue;
    yield job;
    job = [];
    bytes = 0;
  }
  if (job.length > 0) yield job;
}

function jobOf(planned: readonly PlannedPart[]): { job: ContentJob; numbers: Map<FileState, number> } {
  const [first] = planned;
  if (first === undefined) throw new HoldfastError('internal', 'A job without chunks was planned');
  const numbers = new Map<FileState, number>();
  const files: WantedFile[] = [];
  const parts = planned.map(({ location, uses }) => ({
    id: location.id,
    offset: location.offset,
    storedLength: location.storedLength,
    originalLength: location.originalLength,
    uses: uses.map(({ file, position }) => {
      const number = numbers.get(file) ?? files.push(wantedFile(file)) - 1;
      numbers.set(file, number);
      return { file: number, position };
    }),
  }));
  const { packId, packSizeBytes, headerLength, generation } = first.location;
  return {
    job: { kind: 'content', pack: { packId, packSizeBytes, headerLength, generation }, parts, files },
    numbers,
  };
}

function wantedFile(file: FileState): WantedFile {
  const { destination, hash, size, holes } = file;
  file.whole = destination !== undefined && file.complete && file.digests.length === CHUNK_ID_BYTES;
  return {
    staging: destination?.staging,
    whole:
      destination === undefined || !file.whole
        ? undefined
        : { final: destination.final, hash, size, metadata: destination.metadata },
    holes,
  };
}
