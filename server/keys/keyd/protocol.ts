/**
 * The bytes between keyd and its clients. A connection begins with a mutual challenge–response over a key that both know
 * (one per role); from it comes a session key per direction. Every frame after that carries a sequence number, the sender's
 * time and an HMAC over both and the content: a frame replayed, reordered, dropped, changed or carried over from another
 * connection ends the connection. Specified in README.md, section Protocol.
 */
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { HoldfastError } from '../../lib/errors.ts';
import type { KeydRole } from '../key-client.ts';

/** Longest frame body, bytes, once the peer is known. */
export const MAX_FRAME_BYTES = 2 * 1024 * 1024;
/** Longest frame body before that. */
export const MAX_HELLO_BYTES = 1024;
/** How far the sender's clock may be from ours; both are on one machine. */
const TIME_WINDOW_MS = 30_000;
const MAC_BYTES = 32;
const FRAME_HEADER_BYTES = 8 + 8 + MAC_BYTES;

export interface SessionKeys {
  /** Authenticates what the client sends. */
  client: Buffer;
  /** Authenticates what keyd sends. */
  server: Buffer;
}

/** What both sides prove: that they know the role's key, for this pair of nonces, as this side. */
export function handshakeProof(
  side: 'client' | 'server',
  key: Uint8Array,
  role: KeydRole,
  nonces: { client: Buffer; server: Buffer },
): Buffer {
  return createHmac('sha256', key)
    .update(`holdfast/keyd/1 ${side} ${role}\n`)
    .update(nonces.client)
    .update(nonces.server)
    .digest();
}

/** Session keys, new for each connection: HKDF-SHA-256 with both nonces as salt. */
export function sessionKeys(key: Uint8Array, nonces: { client: Buffer; server: Buffer }): SessionKeys {
  const salt = Buffer.concat([nonces.client, nonces.server]);
  const bytes = Buffer.from(hkdfSync('sha256', key, salt, 'holdfast/keyd/1 session', 64));
  return { client: bytes.subarray(0, 32), server: bytes.subarray(32) };
}

/** A length-prefixed frame. */
export function encodeFrame(body: Uint8Array): Buffer {
  const frame = Buffer.alloc(4 + body.length);
  frame.writeUInt32BE(body.length, 0);
  frame.set(body, 4);
  return frame;
}

/** Cuts a byte stream into frames. */
export function createFrameReader(limit: () => number): (data: Buffer) => Buffer[] {
  let rest: Buffer = Buffer.alloc(0);
  return (data) => {
    rest = rest.length === 0 ? data : Buffer.concat([rest, data]);
    const frames: Buffer[] = [];
    while (rest.length >= 4) {
      const length = rest.readUInt32BE(0);
      if (length > limit()) throw new HoldfastError('too_large', 'A frame on the key socket is too long');
      if (rest.length < 4 + length) break;
      frames.push(rest.subarray(4, 4 + length));
      rest = rest.subarray(4 + length);
    }
    return frames;
  };
}

/** Makes authenticated frame bodies, numbered from 1. */
export function createFrameSealer(key: Uint8Array, now: () => number): (content: Buffer) => Buffer {
  let sequence = 0n;
  return (content) => {
    sequence += 1n;
    const body = Buffer.alloc(FRAME_HEADER_BYTES + content.length);
    body.writeBigUInt64BE(sequence, 0);
    body.writeBigUInt64BE(BigInt(Math.max(0, Math.floor(now()))), 8);
    content.copy(body, FRAME_HEADER_BYTES);
    frameMac(key, body).copy(body, 16);
    return encodeFrame(body);
  };
}

/** Checks authenticated frame bodies. @throws unauthenticated for anything but the next one, made now, whole. */
export function createFrameOpener(key: Uint8Array, now: () => number): (body: Buffer) => Buffer {
  let sequence = 0n;
  return (body) => {
    if (body.length < FRAME_HEADER_BYTES) throw refused('a frame is too short');
    if (!timingSafeEqual(frameMac(key, body), body.subarray(16, FRAME_HEADER_BYTES))) {
      throw refused('a frame is not authentic');
    }
    if (body.readBigUInt64BE(0) !== sequence + 1n) throw refused('a frame is out of order');
    if (Math.abs(now() - Number(body.readBigUInt64BE(8))) > TIME_WINDOW_MS)
      throw refused('a frame is too old');
    sequence += 1n;
    return body.subarray(FRAME_HEADER_BYTES);
  };
}

function frameMac(key: Uint8Array, body: Buffer): Buffer {
  return createHmac('sha256', key)
    .update(body.subarray(0, 16))
    .update(body.subarray(FRAME_HEADER_BYTES))
    .digest();
}

/** What a peer reads when it is not believed. `detail` goes to the log only. */
export function refused(detail: string): HoldfastError {
  return new HoldfastError('unauthenticated', 'The key service refused this connection', {
    hint: 'Restart Holdfast; credentials are made anew at each start.',
    detail,
  });
}

export interface Request {
  id: number;
  op: string;
  args: Record<string, unknown>;
}
