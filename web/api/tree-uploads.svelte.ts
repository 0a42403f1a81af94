/**
 * Folders on their way to the appliance, each as one thing: its folders are made, small files go in batches, large ones alone, two
 * requests at a time. What is there already is asked about once, for all; what broke off goes on where it was. Only the files of the
 * two requests are in memory, and the page hears of progress a few times a second however many files there are.
 */
import { SvelteMap } from 'svelte/reactivity';
import { createRateMeter } from '../lib/rate.ts';
import { pathOf, UNREADABLE, type LeftOut, type Tree, type TreeFile } from '../lib/tree.ts';
import { ApiError, asApiError, isAbort, queryText } from './client.ts';
import { createFolders, getFolder, sendBatch, uploadUrl } from './files.ts';
import { mtimeOf, sendBytes } from './send-bytes.ts';
import type { BatchOutcome } from './shapes.ts';
import { announceArrival } from './uploads.svelte.ts';

type OnConflict = 'refuse' | 'replace' | 'rename';

/** `asking`: all is there but what meets another file of its name. */
type State = 'reading' | 'running' | 'asking' | 'done' | 'failed' | 'cancelled';

export interface TreeUpload {
  id: number;
  folderId: string;
  title: string;
  state: State;
  files: number;
  folders: number;
  /** Files with an outcome: stored, there already, left out. */
  settled: number;
  stored: number;
  unchanged: number;
  /** Files that met another one of their name, and wait for an answer. */
  conflicts: number;
  leftOut: number;
  totalBytes: number;
  sentBytes: number;
  bytesPerSecond: number;
  leftMs: number | undefined;
  tookMs: number;
  error: ApiError | undefined;
}

/** What the page does not watch. */
interface Work {
  stop: AbortController;
  waiting: TreeFile[];
  conflicts: TreeFile[];
  leftOut: LeftOut[];
  /** By path; filled before the first file goes. */
  places: Map<string, Awaited<ReturnType<typeof createFolders>>[number]>;
  paths: string[];
  onConflict: OnConflict;
  settledBytes: number;
  /** Of requests under way. */
  flying: Map<object, number>;
}

const AT_ONCE = 2;
const SMALL_BYTES = 1024 * 1024;
const BATCH_FILES = 250;
const BATCH_BYTES = 6 * 1024 * 1024;
const PATHS_FILES = 500;
const PATHS_CHARACTERS = 100_000;
/** What a file costs beside its bytes, for the time left. */
const FILE_WEIGHT_BYTES = 32 * 1024;
const TELL_EVERY_MS = 250;
const RETRY_AFTER_MS = [1_000, 4_000, 10_000];
const PASSING = new Set(['offline', 'unavailable', 'too_many_requests']);

const known = new SvelteMap<number, TreeUpload>();
/** Beside the list, which is reactive: files are not to be watched. */
const work: Partial<Record<number, Work>> = {};
let next = 1;

export const treeUploads = {
  get list(): readonly TreeUpload[] {
    return [...known.values()];
  },
  /** Files that are still to go. */
  get running(): number {
    let files = 0;
    for (const upload of known.values())
      if (isOpen(upload)) files += Math.max(1, upload.files - upload.settled);
    return files;
  },
  /** Starts with a tree, or with the reading of one. */
  add(
    folderId: string,
    title: string,
    read: (onFound: (files: number) => void, signal: AbortSignal) => Promise<Tree>,
  ): void {
    const id = next++;
    const upload = $state<TreeUpload>({
      id,
      folderId,
      title,
      state: 'reading',
      files: 0,
      folders: 0,
      settled: 0,
      stored: 0,
      unchanged: 0,
      conflicts: 0,
      leftOut: 0,
      totalBytes: 0,
      sentBytes: 0,
      bytesPerSecond: 0,
      leftMs: undefined,
      tookMs: 0,
      error: undefined,
    });
    const task = newWork();
    known.set(id, upload);
    work[id] = task;
    const found = (files: number): void => {
      upload.files = files;
    };
    void follow(upload, task, async () => {
      const tree = await read(found, task.stop.signal);
      task.stop.signal.throwIfAborted();
      task.waiting = tree.files;
      task.leftOut = tree.leftOut;
      task.paths = [...tree.folders];
      upload.files = tree.files.length;
      upload.folders = tree.folders.size;
      upload.leftOut = tree.leftOut.length;
      upload.totalBytes = tree.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      await sendAll(upload, task);
    });
  },
  cancel(id: number): void {
    const upload = known.get(id);
    if (!upload || !isOpen(upload)) return;
    upload.state = 'cancelled';
    work[id]?.stop.abort();
  },
  /** Goes on with what has no outcome yet. */
  resume(id: number): void {
    const upload = known.get(id);
    const task = work[id];
    if (!upload || !task) return;
    task.stop = new AbortController();
    upload.error = undefined;
    void follow(upload, task, () => sendAll(upload, task));
  },
  /** What to do with all files that met another one of their name. */
  decide(id: number, answer: 'skip' | 'replace' | 'rename'): void {
    const upload = known.get(id);
    const task = work[id];
    if (!upload || !task || upload.state !== 'asking') return;
    const asked = task.conflicts.splice(0);
    upload.conflicts = 0;
    if (answer === 'skip') {
      upload.state = 'done';
      for (const item of asked) leaveOut(upload, task, item, 'another file of this name is there');
      return;
    }
    task.onConflict = answer;
    task.waiting = asked;
    upload.settled -= asked.length;
    task.settledBytes -= asked.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    void follow(upload, task, () => sendAll(upload, task));
  },
  leftOut(id: number): readonly LeftOut[] {
    return work[id]?.leftOut ?? [];
  },
  /** Takes those that have ended off the list. */
  clear(): void {
    for (const upload of [...known.values()].filter((one) => !isOpen(one))) {
      known.delete(upload.id);
      work[upload.id] = undefined;
    }
  },
};

function isOpen(upload: TreeUpload): boolean {
  return upload.state === 'reading' || upload.state === 'running';
}

function newWork(): Work {
  return {
    stop: new AbortController(),
    waiting: [],
    conflicts: [],
    leftOut: [],
    places: new Map(),
    paths: [],
    onConflict: 'refuse',
    settledBytes: 0,
    flying: new Map(),
  };
}

/** Runs a stretch of work to one of the states in which it rests. */
async function follow(upload: TreeUpload, task: Work, act: () => Promise<void>): Promise<void> {
  const startedAt = performance.now();
  const stopTelling = startTelling(upload, task);
  try {
    await act();
    upload.conflicts = task.conflicts.length;
    upload.state = task.conflicts.length > 0 ? 'asking' : 'done';
  } catch (error) {
    // The other request must not go on behind a page that says it has stopped.
    task.stop.abort();
    if (upload.state !== 'cancelled') {
      upload.state = 'failed';
      upload.error = asApiError(error);
    }
  } finally {
    stopTelling();
    upload.tookMs += performance.now() - startedAt;
    announceArrival(upload.folderId);
  }
}

function startTelling(upload: TreeUpload, task: Work): () => void {
  const bytesMeter = createRateMeter();
  const weightMeter = createRateMeter();
  const tell = (): void => {
    let flying = 0;
    for (const bytes of task.flying.values()) flying += bytes;
    const atMs = performance.now();
    upload.sentBytes = Math.min(upload.totalBytes, task.settledBytes + flying);
    upload.bytesPerSecond = bytesMeter(upload.sentBytes, upload.totalBytes, atMs).bytesPerSecond;
    const weigh = (bytes: number, files: number): number => bytes + files * FILE_WEIGHT_BYTES;
    const done = weigh(upload.sentBytes, upload.settled);
    upload.leftMs = weightMeter(done, weigh(upload.totalBytes, upload.files), atMs).leftMs;
  };
  const timer = setInterval(tell, TELL_EVERY_MS);
  return () => {
    clearInterval(timer);
    tell();
    upload.bytesPerSecond = 0;
    upload.leftMs = undefined;
  };
}

async function sendAll(upload: TreeUpload, task: Work): Promise<void> {
  upload.state = 'running';
  await makeFolders(upload, task);
  announceArrival(upload.folderId);
  const worker = async (): Promise<void> => {
    for (let part = takePart(upload, task); part.length > 0; part = takePart(upload, task)) {
      try {
        await patiently(task, () => sendPart(upload, task, part));
      } catch (error) {
        // Without an outcome: they go again when the person wants.
        task.waiting.push(...part);
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function makeFolders(upload: TreeUpload, task: Work): Promise<void> {
  task.places.set('', { folderId: upload.folderId });
  const missing = task.paths.filter((path) => !task.places.has(path));
  while (missing.length > 0) {
    let characters = 0;
    let count = 0;
    for (; count < Math.min(missing.length, PATHS_FILES); count += 1) {
      characters += missing[count]?.length ?? 0;
      if (count > 0 && characters > PATHS_CHARACTERS) break;
    }
    const paths = missing.splice(0, count);
    const places = await patiently(task, () => createFolders(upload.folderId, paths, task.stop.signal));
    paths.forEach((path, index) =>
      task.places.set(path, places[index] ?? { reason: 'it was not answered for' }),
    );
  }
}

/** The next files for one request: a batch of small ones, or one that is large. */
function takePart(upload: TreeUpload, task: Work): TreeFile[] {
  const part: TreeFile[] = [];
  let bytes = 0;
  for (let item = task.waiting.at(-1); item !== undefined; item = task.waiting.at(-1)) {
    const place = task.places.get(item.folder);
    const large = item.sizeBytes > SMALL_BYTES;
    if (part.length > 0 && (large || part.length >= BATCH_FILES || bytes + item.sizeBytes > BATCH_BYTES))
      break;
    task.waiting.pop();
    if (place === undefined || 'reason' in place) {
      leaveOut(upload, task, item, `its folder cannot be: ${place?.reason ?? 'unknown'}`);
      settle(upload, task, item);
      continue;
    }
    part.push(item);
    bytes += item.sizeBytes;
    if (large) break;
  }
  return part;
}

function sendPart(upload: TreeUpload, task: Work, part: readonly TreeFile[]): Promise<void> {
  const [first] = part;
  if (first !== undefined && first.sizeBytes > SMALL_BYTES) return sendLarge(upload, task, first);
  return sendSmall(upload, task, part);
}

async function sendSmall(upload: TreeUpload, task: Work, part: readonly TreeFile[]): Promise<void> {
  const contents = await Promise.all(part.map(({ file }) => file.arrayBuffer().catch(() => undefined)));
  task.stop.signal.throwIfAborted();
  const readable = part.flatMap((item, index) => {
    const content = contents[index];
    return content === undefined || content.byteLength > SMALL_BYTES ? [] : [{ item, content }];
  });
  const items =
    readable.length === 0
      ? []
      : await sendBatch(
          upload.folderId,
          {
            onConflict: task.onConflict,
            files: readable.map(({ item, content }) => ({
              folderId: folderOf(task, item),
              name: item.file.name,
              sizeBytes: content.byteLength,
              mtime: mtimeOf(item.modifiedMs),
            })),
          },
          readable.map(({ content }) => content),
          flight(task, part),
        );
  const outcomes = new Map(readable.map(({ item }, index) => [item, items[index]]));
  for (const item of part) {
    const { outcome, reason } = outcomes.get(item) ?? { outcome: 'refused' as const, reason: UNREADABLE };
    apply(upload, task, item, outcome, reason);
  }
}

async function sendLarge(upload: TreeUpload, task: Work, item: TreeFile): Promise<void> {
  const { file } = item;
  const folderId = folderOf(task, item);
  const query = queryText({ name: file.name, mtime: mtimeOf(item.modifiedMs), onConflict: task.onConflict });
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    apply(upload, task, item, 'refused', UNREADABLE);
    return;
  }
  try {
    await sendBytes('PUT', uploadUrl(folderId) + query, file, flight(task, [item]));
    apply(upload, task, item, 'stored');
  } catch (error) {
    const { code, message } = asApiError(error);
    if (code === 'conflict') apply(upload, task, item, await compare(task, folderId, item));
    else if (code === 'invalid_input' || code === 'too_large') apply(upload, task, item, 'refused', message);
    else throw error;
  }
}

/** Whether the file that is there already is this one. */
async function compare(task: Work, folderId: string, item: TreeFile): Promise<BatchOutcome> {
  const { items } = await getFolder(folderId, { search: item.file.name, limit: 500 }, task.stop.signal);
  const same = items.some(
    (node) =>
      node.name === item.file.name &&
      node.sizeBytes === item.sizeBytes &&
      Date.parse(node.modifiedAt) === item.modifiedMs,
  );
  return same ? 'unchanged' : 'conflict';
}

function apply(
  upload: TreeUpload,
  task: Work,
  item: TreeFile,
  outcome: BatchOutcome,
  reason = 'the appliance did not say why',
): void {
  if (outcome === 'stored' || outcome === 'replaced') upload.stored += 1;
  else if (outcome === 'unchanged') upload.unchanged += 1;
  else if (outcome === 'conflict') task.conflicts.push(item);
  else leaveOut(upload, task, item, reason);
  settle(upload, task, item);
}

function settle(upload: TreeUpload, task: Work, item: TreeFile): void {
  upload.settled += 1;
  task.settledBytes += item.sizeBytes;
}

function leaveOut(upload: TreeUpload, task: Work, item: TreeFile, reason: string): void {
  task.leftOut.push({ path: pathOf(item), reason });
  upload.leftOut += 1;
}

function folderOf(task: Work, item: TreeFile): string {
  const place = task.places.get(item.folder);
  if (place === undefined || 'reason' in place) throw new Error('This folder was not made');
  return place.folderId;
}

/** Counts the bytes of one request into the progress while it is under way. */
function flight(task: Work, part: readonly TreeFile[]): Parameters<typeof sendBytes>[3] {
  const most = part.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const mark = {};
  task.flying.set(mark, 0);
  return {
    signal: task.stop.signal,
    onSent(bytes) {
      task.flying.set(mark, Math.min(bytes, most));
    },
    onEnd() {
      task.flying.delete(mark);
    },
  };
}

/** Tries again what may pass by itself: a network that stumbles, a server that restarts. */
async function patiently<T>(task: Work, act: () => Promise<T>): Promise<T> {
  for (const waitMs of RETRY_AFTER_MS) {
    try {
      return await act();
    } catch (error) {
      if (isAbort(error) || !(error instanceof ApiError) || !PASSING.has(error.code)) throw error;
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, waitMs);
      task.stop.signal.addEventListener('abort', () => {
        clearTimeout(timer);
        resolve();
      });
    });
    task.stop.signal.throwIfAborted();
  }
  return act();
}
