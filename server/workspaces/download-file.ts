/**
 * Hands files out. Guarantees: every reading is in the audit log before its first byte leaves; no byte leaves that was not
 * authenticated; a deleted file, one whose key was disabled, and one that its reader may no longer see stop within a second.
 */
import { addAbortSignal, Readable } from 'node:stream';
import { recordAudit, type Actor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import type { Person } from '../identity/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import { watchDownload } from './download-watch.ts';
import { openContent, type OpenContent } from './file-store.ts';
import { noSuchNode, requireFile, type Visitor } from './members.ts';
import { openStoredFile, type ByteRange, type OpenedFile } from './open-file.ts';
import { findContent, type ContentRow } from './queries.ts';
import type { Node } from './schema.ts';
import { describeNode } from './service.ts';

/** Downloads at once; each holds some 5 MiB. */
const MAX_DOWNLOADS = 64;

/** A file that may be read, before anything is opened. */
export interface Download {
  node: Node;
  sizeBytes: number;
  /** Strong: changes with the content. */
  etag: string;
  content: ContentRow;
}

/** Who reads, and how it goes into the audit log. */
export interface Reading {
  person: Person;
  actor: Actor;
  act: 'downloaded' | 'previewed';
}

let running = 0;

/** @throws not_found, forbidden, invalid_input for a folder */
export async function findDownload(deps: WorkspaceDeps, id: string, visitor: Visitor): Promise<Download> {
  const row = await requireFile(deps.db, id, visitor, 'viewer');
  const content = await findContent(deps.db, id);
  if (content === undefined) throw noSuchNode();
  return {
    node: await describeNode(deps, row),
    sizeBytes: Number(content.size_bytes),
    etag: `"${content.content_id}"`,
    content,
  };
}

/**
 * Records the reading and opens the content.
 *
 * @returns the bytes; the stream breaks with not_found when the file is deleted meanwhile, or closed to the reader.
 * @throws integrity_failure, key_disabled, too_many_requests
 */
export async function openDownload(
  deps: WorkspaceDeps,
  download: Download,
  range: ByteRange,
  reading: Reading,
): Promise<Readable> {
  if (running >= MAX_DOWNLOADS) {
    throw new HoldfastError('too_many_requests', `At most ${MAX_DOWNLOADS} files are read at once`, {
      hint: 'Wait for the others to end.',
    });
  }
  running += 1;
  const watch = watchDownload(deps, download.node, reading.person);
  let close = async () => {
    running -= 1;
    watch.end();
  };
  try {
    await recordReading(deps, download, range, reading);
    const opened = await openStored(deps, download.content);
    const release = close;
    close = async () => {
      await release();
      await opened.close();
    };
    const bytes = checkedBytes(deps, download.content, opened.file.read(range));
    // The first segment is checked before anything is promised to the reader.
    const first = await bytes.next();
    const stream = Readable.from(startingWith(first, bytes), { objectMode: false });
    addAbortSignal(watch.gone, stream);
    stream.once('close', () => void close());
    return stream;
  } catch (error) {
    await close();
    throw error;
  }
}

/** Opens the stored content of a file with its key. `close` it after. @throws integrity_failure, key_disabled */
export async function openStored(
  deps: Pick<WorkspaceDeps, 'dataDir' | 'sealer'>,
  content: ContentRow,
): Promise<{ file: OpenedFile; key: Buffer; close(): Promise<void> }> {
  const place = {
    workspaceId: content.workspace_id,
    subjectKeyId: content.subject_key_id,
    contentId: content.content_id,
    version: content.version,
  };
  const key = await deps.sealer.openFileKey(place, content.wrapped_key);
  let stored: OpenContent | undefined;
  try {
    stored = await openContent(deps.dataDir, content.content_id);
    const open = stored;
    const close = async () => {
      key.fill(0);
      await open.close();
    };
    return { file: await openStoredFile(stored, { ...place, key }), key, close };
  } catch (error) {
    key.fill(0);
    await stored?.close();
    throw error;
  }
}

async function recordReading(
  deps: WorkspaceDeps,
  download: Download,
  range: ByteRange,
  { actor, act }: Reading,
): Promise<void> {
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, actor, {
      action: `workspaces.file.${act}`,
      objectType: 'file',
      objectId: download.node.id,
      workspaceId: download.node.workspaceId,
      detail: { contentId: download.content.content_id, from: range.start, to: range.end },
    }),
  );
}

async function* checkedBytes(
  deps: Pick<WorkspaceDeps, 'sealer'>,
  content: ContentRow,
  bytes: AsyncGenerator<Buffer>,
): AsyncGenerator<Buffer> {
  for await (const part of bytes) {
    await deps.sealer.requireUsable(content.subject_key_id);
    yield part;
  }
}

async function* startingWith(
  first: IteratorResult<Buffer>,
  rest: AsyncGenerator<Buffer>,
): AsyncGenerator<Buffer> {
  if (first.done) return;
  yield first.value;
  yield* rest;
}
