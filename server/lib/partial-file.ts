/**
 * A file that arrives in pieces, over connections that break and processes that are killed. Guarantee: the length noted beside it
 * never counts a byte that a power cut could still take; what lies behind it is cut off before the next piece. So whoever sends
 * asks for the length and goes on there.
 *
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpbis-resumable-upload/ the exchange of offsets that this serves.
 */
import { constants } from 'node:fs';
import { open, rm, stat, type FileHandle } from 'node:fs/promises';
import { crashPoint } from './crash-point.ts';
import { HoldfastError, isSystemError } from './errors.ts';
import { explainWriteError, readFileIfPresent, writeFileDurably } from './files.ts';

/** At most so much is sent again after a power cut. */
const NOTE_EVERY_BYTES = 8 * 1024 * 1024;

export interface Piece {
  /** Where it begins: the noted length. */
  offset: number;
  /** Length of the whole file. */
  total: number;
  /** Names the steps for crash tests. */
  step: string;
}

/** Bytes that are safe. Zero when there is no such file. */
export async function readNotedLength(path: string): Promise<number> {
  const noted = Number((await readFileIfPresent(noteOf(path)))?.toString('utf8') ?? 0);
  const there = (await stat(path).catch(() => undefined))?.size ?? 0;
  return Number.isSafeInteger(noted) && noted >= 0 && noted <= there ? noted : 0;
}

/**
 * Adds what comes until it ends or breaks off; both are no error, what came counts.
 *
 * @returns the noted length. @throws HoldfastError `conflict` when the piece does not begin there, `too_large` when it goes beyond
 *   the total: then nothing of it counts that was not noted before; `no_space`.
 */
export async function appendPiece(path: string, piece: Piece, body: AsyncIterable<Buffer>): Promise<number> {
  const noted = await readNotedLength(path);
  if (piece.offset !== noted) {
    throw new HoldfastError(
      'conflict',
      `This piece begins at byte ${String(piece.offset)}, not where the upload is`,
      {
        hint: `Go on at byte ${String(noted)}.`,
      },
    );
  }
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    await handle.truncate(noted);
    return await writeNoting(handle, path, piece, body);
  } catch (error) {
    throw error instanceof HoldfastError ? error : explainWriteError(error, path);
  } finally {
    await handle.close();
  }
}

/** Removes the file and its note. */
export async function removePartialFile(path: string): Promise<void> {
  // The note first: a file without one counts for nothing.
  await rm(noteOf(path), { force: true });
  await rm(path, { force: true });
}

function noteOf(path: string): string {
  return `${path}.length`;
}

async function writeNoting(
  handle: FileHandle,
  path: string,
  { offset, total, step }: Piece,
  body: AsyncIterable<Buffer>,
): Promise<number> {
  let at = offset;
  let noted = offset;
  const note = async (): Promise<void> => {
    if (at === noted) return;
    await handle.sync();
    crashPoint(`${step}.synced`);
    await writeFileDurably(noteOf(path), String(at), { step: `${step}.noted` });
    noted = at;
  };
  try {
    for await (const part of body) {
      if (at + part.length > total) throw beyond(total);
      await writeAll(handle, part, at);
      at += part.length;
      if (at - noted >= NOTE_EVERY_BYTES) await note();
    }
  } catch (error) {
    if (!isBrokenOff(error)) throw error;
  }
  await note();
  return at;
}

async function writeAll(handle: FileHandle, part: Buffer, position: number): Promise<void> {
  for (let done = 0; done < part.length;) {
    const { bytesWritten } = await handle.write(part, done, part.length - done, position + done);
    done += bytesWritten;
  }
}

function isBrokenOff(error: unknown): boolean {
  return isSystemError(error, 'ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ABORT_ERR');
}

function beyond(total: number): HoldfastError {
  return new HoldfastError('too_large', `More came than the ${String(total)} bytes that were said`, {
    hint: 'Was the file changed meanwhile? Discard the upload and begin again.',
  });
}
