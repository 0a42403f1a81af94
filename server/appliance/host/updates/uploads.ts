/**
 * The one upload of an update that may be under way. It outlives its sender, the server and this process: what came is kept for a
 * day after the last piece, and whoever has the same file goes on where it stopped. Another file is refused until this one is
 * whole or discarded.
 */
import { randomUUID } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import type { Clock } from '../../../lib/clock.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import { makePrivateDirectory, readFileIfPresent, writeFileDurably } from '../../../lib/files.ts';
import { appendPiece, readNotedLength, removePartialFile } from '../../../lib/partial-file.ts';
import { Id, Instant } from '../../../lib/shapes.ts';
import { BeginUploadRequest, type Bundle, type BundleUpload } from './schema.ts';
import { checkSpace, refuseTooLarge, type BundleStore } from './store.ts';

const LIFE_MS = 24 * 3_600_000;

const Begun = Type.Intersect([BeginUploadRequest, Type.Object({ id: Id, startedAt: Instant })]);
type Begun = Static<typeof Begun>;

export interface BundleUploads {
  current(): Promise<BundleUpload | undefined>;
  /** Begins, or answers how far the same file has come. @throws HoldfastError `conflict` while another one is under way. */
  begin(request: BeginUploadRequest): Promise<BundleUpload>;
  /** Takes a piece; with the last one the whole file. A newer piece ends one that still waits for bytes. */
  append(id: string, offset: number, body: Readable): Promise<{ upload: BundleUpload; bundle?: Bundle }>;
  discard(id: string): Promise<void>;
}

interface Writer {
  stop(): void;
  done: Promise<unknown>;
}

export function openBundleUploads(deps: { store: BundleStore; clock: Clock }): BundleUploads {
  const { store, clock } = deps;
  const file = join(store.folder, 'upload.part');
  const facts = join(store.folder, 'upload.json');
  let writer: Writer | undefined;

  const remove = async (): Promise<void> => {
    await rm(facts, { force: true });
    await removePartialFile(file);
  };
  const stopWriter = async (): Promise<void> => {
    while (writer !== undefined) {
      writer.stop();
      await writer.done;
    }
  };
  const current = async (): Promise<BundleUpload | undefined> => {
    const begun = parse(await readFileIfPresent(facts));
    if (begun === undefined) return undefined;
    const touched =
      (await stat(`${file}.length`).catch(() => undefined))?.mtimeMs ?? Date.parse(begun.startedAt);
    const expiresAt = new Date(touched + LIFE_MS);
    if (writer === undefined && expiresAt <= clock.now()) {
      await remove();
      return undefined;
    }
    return { ...begun, offset: await readNotedLength(file), expiresAt: expiresAt.toISOString() };
  };
  const get = async (id: string): Promise<BundleUpload> => {
    const upload = await current();
    if (upload?.id === id) return upload;
    throw new HoldfastError('not_found', 'This upload is not under way any more', {
      hint: 'It was finished, discarded, or nothing came for a day. Begin again.',
    });
  };

  const takePiece = async (upload: BundleUpload, offset: number, body: Readable) => {
    await checkSpace(store.folder, upload.sizeBytes - upload.offset);
    const piece = { offset, total: upload.sizeBytes, step: 'update.piece' };
    const length = await appendPiece(file, piece, body as AsyncIterable<Buffer>);
    if (length < upload.sizeBytes) return { upload: await get(upload.id) };
    try {
      return { upload: { ...upload, offset: length }, bundle: await store.adopt(file, 'upload') };
    } finally {
      // Taken or refused: either way there is nothing to go on with.
      await remove();
    }
  };

  return {
    current,
    async begin(request) {
      refuseTooLarge(request.sizeBytes);
      await makePrivateDirectory(store.folder);
      const before = await current();
      if (before !== undefined) {
        if (before.fingerprint === request.fingerprint && before.sizeBytes === request.sizeBytes)
          return before;
        throw refuseOther(before, request);
      }
      await checkSpace(store.folder, request.sizeBytes);
      await removePartialFile(file);
      const begun: Begun = { ...request, id: randomUUID(), startedAt: clock.now().toISOString() };
      await writeFileDurably(facts, `${JSON.stringify(begun)}\n`, { step: 'update.upload' });
      return get(begun.id);
    },
    async append(id, offset, body) {
      await get(id);
      await stopWriter();
      const done = get(id).then((upload) => takePiece(upload, offset, body));
      const mine: Writer = { stop: () => body.destroy(), done: done.catch(() => undefined) };
      writer = mine;
      try {
        return await done;
      } finally {
        writer = undefined;
      }
    },
    async discard(id) {
      await get(id);
      await stopWriter();
      await remove();
    },
  };
}

function parse(content: Buffer | undefined): Begun | undefined {
  try {
    const value = content === undefined ? undefined : (JSON.parse(content.toString('utf8')) as unknown);
    return Value.Check(Begun, value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function refuseOther(before: BundleUpload, request: BeginUploadRequest): HoldfastError {
  const percent = Math.floor((before.offset / before.sizeBytes) * 100);
  return new HoldfastError(
    'conflict',
    before.name === request.name
      ? `Another file of the name ${before.name} is being uploaded`
      : `${before.name} is being uploaded`,
    { hint: `It is at ${String(percent)} %. Go on with that file, or discard it first.` },
  );
}
