/** One client's connection: handshake, then authenticated requests. Whatever is not as it must be ends the connection. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Clock } from '../../lib/clock.ts';
import { HoldfastError, messageOf } from '../../lib/errors.ts';
import { KEYD_ROLES, type KeydRole } from '../key-client.ts';
import type { Grants } from './lent-secrets.ts';
import {
  createFrameOpener,
  createFrameReader,
  createFrameSealer,
  encodeFrame,
  handshakeProof,
  MAX_FRAME_BYTES,
  MAX_HELLO_BYTES,
  refused,
  type Request,
  sessionKeys,
} from './protocol.ts';

/** How long a peer may take to prove who it is. */
const HANDSHAKE_MS = 5_000;
const MAX_REQUESTS_UNDER_WAY = 64;

export interface Peer {
  role: KeydRole;
  grants: Grants;
}

interface ConnectionOptions {
  socket: Socket;
  credentials: ReadonlyMap<KeydRole, Buffer>;
  clock: Clock;
  handle: (request: Request, peer: Peer) => Promise<unknown>;
  /** Why a connection was ended by us; never holds a secret. */
  onRefused: (reason: string) => void;
}

/** Serves a connection until it ends. */
export function serveConnection(options: ConnectionOptions): void {
  const { socket, clock } = options;
  const wallMs = () => clock.now().getTime();
  const serverNonce = randomBytes(32);
  let clientNonce: Buffer | undefined;
  let peer: Peer | undefined;
  let role: KeydRole | undefined;
  let open: ((body: Buffer) => Buffer) | undefined;
  let seal: ((content: Buffer) => Buffer) | undefined;
  let underWay = 0;
  const read = createFrameReader(() => (peer ? MAX_FRAME_BYTES : MAX_HELLO_BYTES));
  const timer = setTimeout(() => end('the handshake took too long'), HANDSHAKE_MS);

  function end(reason: string): void {
    options.onRefused(reason);
    socket.destroy();
  }

  function onHello(body: Buffer): void {
    const hello = parse(body);
    role = KEYD_ROLES.find((known) => known === hello.role);
    const key = role && options.credentials.get(role);
    clientNonce = decodeBytes(hello.nonce, 32);
    if (hello.version !== 1 || !role || !key || !clientNonce) throw refused('the hello is not valid');
    const nonces = { client: clientNonce, server: serverNonce };
    const proof = handshakeProof('server', key, role, nonces).toString('base64');
    const reply = { nonce: serverNonce.toString('base64'), proof };
    socket.write(encodeFrame(Buffer.from(JSON.stringify(reply))));
  }

  function onProof(body: Buffer): void {
    const key = role && options.credentials.get(role);
    const given = decodeBytes(parse(body).proof, 32);
    if (!role || !key || !clientNonce || !given) throw refused('the proof is not valid');
    const nonces = { client: clientNonce, server: serverNonce };
    if (!timingSafeEqual(given, handshakeProof('client', key, role, nonces))) {
      throw refused(`the proof for role ${role} is wrong`);
    }
    const keys = sessionKeys(key, nonces);
    open = createFrameOpener(keys.client, wallMs);
    seal = createFrameSealer(keys.server, wallMs);
    peer = { role, grants: { liveKeys: false } };
    clearTimeout(timer);
    // The first authenticated frame tells the client that it was believed.
    socket.write(seal(Buffer.from('{"id":0,"result":"ready"}')));
  }

  async function onRequest(body: Buffer, from: Peer): Promise<void> {
    const request = readRequest(body);
    if (underWay >= MAX_REQUESTS_UNDER_WAY) throw refused('too many requests are under way');
    underWay += 1;
    const response = await answer(options.handle, request, from);
    underWay -= 1;
    if (!socket.destroyed && seal) socket.write(seal(response));
  }

  socket.on('data', (data: Buffer) => {
    try {
      for (const body of read(data)) {
        if (socket.destroyed) return;
        if (peer && open) {
          onRequest(open(body), peer).catch((error: unknown) => end(reasonOf(error)));
        } else if (clientNonce) onProof(body);
        else onHello(body);
      }
    } catch (error) {
      end(reasonOf(error));
    }
  });
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    clearTimeout(timer);
    peer?.grants.onEnd?.();
  });
}

async function answer(handle: ConnectionOptions['handle'], request: Request, peer: Peer): Promise<Buffer> {
  const { id } = request;
  try {
    const content = Buffer.from(JSON.stringify({ id, result: (await handle(request, peer)) ?? null }));
    if (content.length <= MAX_FRAME_BYTES - 64) return content;
    throw new HoldfastError('too_large', 'The answer of the key service is too long; ask for less at once');
  } catch (error) {
    const known = error instanceof HoldfastError;
    const shown = known
      ? { code: error.code, message: error.message, hint: error.hint, detail: error.detail }
      : { code: 'internal', message: 'The key service failed', detail: messageOf(error) };
    return Buffer.from(JSON.stringify({ id, error: shown }));
  }
}

function readRequest(body: Buffer): Request {
  const { id, op, args } = parse(body);
  const valid =
    Number.isSafeInteger(id) && typeof op === 'string' && typeof args === 'object' && args !== null;
  if (!valid) throw refused('a request is not valid');
  return { id: Number(id), op, args: args as Record<string, unknown> };
}

function parse(body: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    throw refused('a frame is not JSON');
  }
  if (typeof value !== 'object' || value === null) throw refused('a frame is not an object');
  return value as Record<string, unknown>;
}

function decodeBytes(value: unknown, length: number): Buffer | undefined {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'base64') : undefined;
  return bytes?.length === length ? bytes : undefined;
}

function reasonOf(error: unknown): string {
  return error instanceof HoldfastError ? (error.detail ?? error.message) : messageOf(error);
}
