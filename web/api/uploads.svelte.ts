/**
 * Files on their way to the appliance: a few at once, each with its progress, and each can be cancelled or tried again. They go on
 * while the person looks at other pages; leaving the site is warned about.
 */
import { asApiError, queryText, type ApiError } from './client.ts';
import { uploadUrl } from './files.ts';
import { mtimeOf, sendBytes } from './send-bytes.ts';
import { createRateMeter } from '../lib/rate.ts';

const AT_ONCE = 3;

type UploadState = 'waiting' | 'running' | 'done' | 'failed' | 'conflict' | 'cancelled';

export interface Upload {
  id: number;
  folderId: string;
  name: string;
  sizeBytes: number;
  sentBytes: number;
  bytesPerSecond: number;
  leftMs: number | undefined;
  state: UploadState;
  error: ApiError | undefined;
}

interface Work {
  file: File;
  onConflict: 'refuse' | 'replace' | 'rename';
  stop: AbortController | undefined;
}

let list = $state<Upload[]>([]);
/** Beside the list, which is reactive: files and requests are not to be watched. */
const work: Partial<Record<number, Work>> = {};
let listeners: readonly ((folderId: string) => void)[] = [];
let next = 1;

export const uploads = {
  get list(): readonly Upload[] {
    return list;
  },
  get running(): number {
    return list.filter((upload) => upload.state === 'running' || upload.state === 'waiting').length;
  },
  add(folderId: string, files: Iterable<File>): void {
    for (const file of files) {
      const id = next++;
      work[id] = { file, onConflict: 'refuse', stop: undefined };
      list.push({
        id,
        folderId,
        name: file.name,
        sizeBytes: file.size,
        sentBytes: 0,
        bytesPerSecond: 0,
        leftMs: undefined,
        state: 'waiting',
        error: undefined,
      });
    }
    pump();
  },
  cancel(id: number): void {
    const upload = find(id);
    if (!upload) return;
    upload.state = 'cancelled';
    work[id]?.stop?.abort();
    pump();
  },
  retry(id: number, onConflict: Work['onConflict'] = 'refuse'): void {
    const upload = find(id);
    const task = work[id];
    if (!upload || !task) return;
    task.onConflict = onConflict;
    upload.state = 'waiting';
    upload.error = undefined;
    upload.sentBytes = 0;
    pump();
  },
  /** Takes those that have ended off the list. */
  clear(): void {
    for (const upload of list) if (!isOpen(upload)) work[upload.id] = undefined;
    list = list.filter(isOpen);
  },
};

/** Calls `listener` with the folder whenever a file has arrived. Call while a component starts. */
export function onUploaded(listener: (folderId: string) => void): void {
  $effect(() => {
    listeners = [...listeners, listener];
    return () => {
      listeners = listeners.filter((other) => other !== listener);
    };
  });
}

/** Tells whoever shows the folder that something arrived in it. */
export function announceArrival(folderId: string): void {
  for (const listener of listeners) listener(folderId);
}

function isOpen(upload: Upload): boolean {
  return upload.state === 'running' || upload.state === 'waiting';
}

function find(id: number): Upload | undefined {
  return list.find((upload) => upload.id === id);
}

function pump(): void {
  const running = list.filter((upload) => upload.state === 'running').length;
  const waiting = list
    .filter((upload) => upload.state === 'waiting')
    .slice(0, Math.max(0, AT_ONCE - running));
  for (const upload of waiting) send(upload);
}

function send(upload: Upload): void {
  const task = work[upload.id];
  if (!task) return;
  const stop = new AbortController();
  task.stop = stop;
  upload.state = 'running';
  const meter = createRateMeter();
  const query = queryText({
    name: upload.name,
    mtime: mtimeOf(task.file.lastModified),
    onConflict: task.onConflict,
  });
  sendBytes('PUT', uploadUrl(upload.folderId) + query, task.file, {
    signal: stop.signal,
    onSent(bytes) {
      upload.sentBytes = bytes;
      const rate = meter(bytes, upload.sizeBytes, performance.now());
      upload.bytesPerSecond = rate.bytesPerSecond;
      upload.leftMs = rate.leftMs;
    },
  }).then(
    () => {
      ended(upload, undefined);
    },
    (error: unknown) => {
      ended(upload, asApiError(error));
    },
  );
}

function ended(upload: Upload, error: ApiError | undefined): void {
  if (upload.state !== 'running') return;
  upload.error = error;
  upload.state = error === undefined ? 'done' : error.code === 'conflict' ? 'conflict' : 'failed';
  if (error === undefined) {
    upload.sentBytes = upload.sizeBytes;
    work[upload.id] = undefined;
    announceArrival(upload.folderId);
  }
  pump();
}
