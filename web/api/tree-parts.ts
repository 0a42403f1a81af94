/**
 * How a folder is sent: its folders are made, small files go in batches, large ones alone, two requests at a time. Only the files of
 * those requests are in memory.
 */
import { UNREADABLE, type TreeFile } from '../lib/tree.ts';
import { asApiError, queryText } from './client.ts';
import { createFolders, getFolder, sendBatch, uploadUrl } from './files.ts';
import { patiently } from './patience.ts';
import { mtimeOf, sendBytes } from './send-bytes.ts';
import type { BatchOutcome } from './shapes.ts';
import { apply, folderOf, leaveOut, settle, type TreeUpload, type TreeWork } from './tree-upload.ts';
import { announceArrival } from './uploads.svelte.ts';

const AT_ONCE = 2;
const SMALL_BYTES = 1024 * 1024;
const BATCH_FILES = 250;
const BATCH_BYTES = 6 * 1024 * 1024;
const PATHS_FILES = 500;
const PATHS_CHARACTERS = 100_000;

/** Makes the folders, then sends every waiting file to its outcome. */
export async function sendAll(upload: TreeUpload, task: TreeWork): Promise<void> {
  upload.state = 'running';
  await makeFolders(upload, task);
  announceArrival(upload.folderId);
  const worker = async (): Promise<void> => {
    for (let part = takePart(upload, task); part.length > 0; part = takePart(upload, task)) {
      try {
        await patiently(task.stop.signal, () => sendPart(upload, task, part));
      } catch (error) {
        // Without an outcome: they go again when the person wants.
        task.waiting.push(...part);
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function makeFolders(upload: TreeUpload, task: TreeWork): Promise<void> {
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
    const places = await patiently(task.stop.signal, () =>
      createFolders(upload.folderId, paths, task.stop.signal),
    );
    paths.forEach((path, index) =>
      task.places.set(path, places[index] ?? { reason: 'it was not answered for' }),
    );
  }
}

/** The next files for one request: a batch of small ones, or one that is large. */
function takePart(upload: TreeUpload, task: TreeWork): TreeFile[] {
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

function sendPart(upload: TreeUpload, task: TreeWork, part: readonly TreeFile[]): Promise<void> {
  const [first] = part;
  if (first !== undefined && first.sizeBytes > SMALL_BYTES) return sendLarge(upload, task, first);
  return sendSmall(upload, task, part);
}

async function sendSmall(upload: TreeUpload, task: TreeWork, part: readonly TreeFile[]): Promise<void> {
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

async function sendLarge(upload: TreeUpload, task: TreeWork, item: TreeFile): Promise<void> {
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
async function compare(task: TreeWork, folderId: string, item: TreeFile): Promise<BatchOutcome> {
  const { items } = await getFolder(folderId, { search: item.file.name, limit: 500 }, task.stop.signal);
  const same = items.some(
    (node) =>
      node.name === item.file.name &&
      node.sizeBytes === item.sizeBytes &&
      Date.parse(node.modifiedAt) === item.modifiedMs,
  );
  return same ? 'unchanged' : 'conflict';
}

/** Counts the bytes of one request into the progress while it is under way. */
function flight(task: TreeWork, part: readonly TreeFile[]): Parameters<typeof sendBytes>[3] {
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
