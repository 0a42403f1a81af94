/** Bytes of one remote file, many requests under way at once, so that a far server is as quick as its line. */
import { createHash } from 'node:crypto';
import { noteGarbage } from '../../../lib/process-memory.ts';
import type { ReadBack } from '../../engine.ts';
import type { Turn } from '../pace.ts';
import { isStatus, STATUS, type Channel } from './connection.ts';
import { ask } from './requests.ts';

/** Bytes under way for one file, in either direction. */
const WINDOW_BYTES = 1024 * 1024;
/**
 * What a byte leaves behind on its way: it is copied into a request, cut into packets and ciphered, or the other way round, each time
 * into a buffer that nobody needs a moment later. V8 hardly sees their weight: without being told it let 70 MiB of them pile up.
 */
const GARBAGE_PER_BYTE = 4;

/** @returns how many bytes. */
export async function writePieces(
  channel: Channel,
  handle: Buffer,
  parts: readonly Uint8Array[],
  turn?: Turn,
): Promise<number> {
  const flight = openFlight(channel);
  let position = 0;
  for (const part of parts) {
    const data = Buffer.from(part.buffer, part.byteOffset, part.byteLength);
    for (let at = 0; at < data.length; at += channel.pieceBytes) {
      const length = Math.min(channel.pieceBytes, data.length - at);
      const to = position + at;
      await turn?.(length);
      await flight.add(async () => {
        await ask(channel, (sftp, done) => sftp.write(handle, data, at, length, to, done));
        noteGarbage(GARBAGE_PER_BYTE * length);
      });
    }
    position += data.length;
  }
  await flight.end();
  return position;
}

/** Fills `into` from `offset` on. @returns fewer bytes than asked for when the file ends before. */
export async function readPieces(
  channel: Channel,
  handle: Buffer,
  into: Buffer,
  offset: number,
): Promise<number> {
  const flight = openFlight(channel);
  let end = into.length;
  for (let at = 0; at < into.length; at += channel.pieceBytes) {
    const piece = into.subarray(at, Math.min(at + channel.pieceBytes, into.length));
    const start = at;
    await flight.add(async () => {
      const count = await readPiece(channel, handle, piece, offset + start);
      if (count < piece.length) end = Math.min(end, start + count);
    });
    if (end < into.length) break;
  }
  await flight.end();
  return end;
}

/** Servers may answer with less than was asked for. */
async function readPiece(channel: Channel, handle: Buffer, piece: Buffer, position: number): Promise<number> {
  let length = 0;
  while (length < piece.length) {
    try {
      const rest = piece.length - length;
      const count = await channel.ask<number>((sftp, done) =>
        sftp.read(handle, piece, length, rest, position + length, done),
      );
      noteGarbage(GARBAGE_PER_BYTE * count);
      if (count === 0) break;
      length += count;
    } catch (error) {
      if (isStatus(error, STATUS.endOfFile)) break;
      throw error;
    }
  }
  return length;
}

/** As many as there were calls at once: a dead buffer of this size stays in memory for long. */
const idleBuffers: Buffer[] = [];

/** One half is hashed while the other is fetched. */
export async function hashRemote(channel: Channel, handle: Buffer, sizeBytes: number): Promise<ReadBack> {
  const buffer = idleBuffers.pop() ?? Buffer.allocUnsafeSlow(WINDOW_BYTES);
  const half = WINDOW_BYTES / 2;
  const hash = createHash('sha256');
  let total = 0;
  try {
    const fetchAt = (position: number, side: number) => {
      const length = Math.max(0, Math.min(half, sizeBytes - position));
      const into = buffer.subarray(side * half, side * half + length);
      const fetched = readPieces(channel, handle, into, position).then((count) => into.subarray(0, count));
      fetched.catch(() => undefined);
      return fetched;
    };
    let next = fetchAt(0, 0);
    for (let side = 1; ; side = 1 - side) {
      const data = await next;
      total += data.length;
      const more = data.length === half && total < sizeBytes;
      if (more) next = fetchAt(total, side);
      hash.update(data);
      if (!more) break;
    }
    return { sizeBytes: total, sha256: hash.digest('hex') };
  } finally {
    idleBuffers.push(buffer);
  }
}

/** Lets as many requests be under way as fit into the window. The first failure stops it, after the others have ended. */
function openFlight(channel: Channel) {
  const most = Math.max(1, Math.floor(WINDOW_BYTES / channel.pieceBytes));
  const open = new Set<Promise<void>>();
  let failure: { error: unknown } | undefined;
  return {
    async add(act: () => Promise<void>): Promise<void> {
      while (open.size >= most) await Promise.race(open);
      if (failure !== undefined) return;
      const one: Promise<void> = act()
        .catch((error: unknown) => {
          failure ??= { error };
        })
        .finally(() => open.delete(one));
      open.add(one);
    },
    async end(): Promise<void> {
      await Promise.all(open);
      if (failure !== undefined) throw failure.error;
    },
  };
}
