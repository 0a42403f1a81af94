/**
 * Folders on their way to the appliance, each as one thing. What is there already is asked about once, for all; what broke off goes on
 * where it was. The page hears of progress a few times a second however many files there are.
 */
import { SvelteMap } from 'svelte/reactivity';
import { createRateMeter } from '../lib/rate.ts';
import type { LeftOut, Tree } from '../lib/tree.ts';
import { asApiError } from './client.ts';
import { sendAll } from './tree-parts.ts';
import {
  isOpen,
  leaveOut,
  newTreeUpload,
  newTreeWork,
  type TreeUpload,
  type TreeWork,
} from './tree-upload.ts';
import { announceArrival } from './uploads.svelte.ts';

export type { TreeUpload } from './tree-upload.ts';

/** What a file costs beside its bytes, for the time left. */
const FILE_WEIGHT_BYTES = 32 * 1024;
const TELL_EVERY_MS = 250;

const known = new SvelteMap<number, TreeUpload>();
/** Beside the list, which is reactive: files are not to be watched. */
const work: Partial<Record<number, TreeWork>> = {};
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
    const upload = $state(newTreeUpload(id, folderId, title));
    const task = newTreeWork();
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

/** Runs a stretch of work to one of the states in which it rests. */
async function follow(upload: TreeUpload, task: TreeWork, act: () => Promise<void>): Promise<void> {
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

function startTelling(upload: TreeUpload, task: TreeWork): () => void {
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
