/** One folder on its way to the appliance: what the page shows of it, what it works with, and what became of each file. */
import { pathOf, type LeftOut, type TreeFile } from '../lib/tree.ts';
import type { ApiError } from './client.ts';
import type { createFolders } from './files.ts';
import type { BatchOutcome } from './shapes.ts';

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

/** What the page does not watch: its files are not to be proxied. */
export interface TreeWork {
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

export function isOpen(upload: TreeUpload): boolean {
  return upload.state === 'reading' || upload.state === 'running';
}

/** Everything at its beginning. */
export function newTreeUpload(id: number, folderId: string, title: string): TreeUpload {
  return {
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
  };
}

export function newTreeWork(): TreeWork {
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

/** Enters what became of a file. */
export function apply(
  upload: TreeUpload,
  task: TreeWork,
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

/** Counts a file as having its outcome. */
export function settle(upload: TreeUpload, task: TreeWork, item: TreeFile): void {
  upload.settled += 1;
  task.settledBytes += item.sizeBytes;
}

/** Lists a file that is not taken, with the reason. */
export function leaveOut(upload: TreeUpload, task: TreeWork, item: TreeFile, reason: string): void {
  task.leftOut.push({ path: pathOf(item), reason });
  upload.leftOut += 1;
}

/** The folder on the appliance that a file goes into. */
export function folderOf(task: TreeWork, item: TreeFile): string {
  const place = task.places.get(item.folder);
  if (place === undefined || 'reason' in place) throw new Error('This folder was not made');
  return place.folderId;
}
