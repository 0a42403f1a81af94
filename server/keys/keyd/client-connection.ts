/** One authenticated connection of a client to keyd: handshake, frames, answers matched to requests. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { Clock } from '../../lib/clock.ts';
import { ERROR_STATUS, type ErrorCode, HoldfastError } from '../../lib/errors.ts';
import { shortPath } from '../../lib/sockets.ts';
import type { KeydRole } from '../key-client.ts';
import { readCredential } from './credentials.ts';
import type { Operation } from './permissions.ts';
import {
  createFrameOpener,
  createFrameReader,
  createFrameSealer,
  encodeFrame,
  handshakeProof,
  MAX_FRAME_BYTES,
  refused,
  sessionKeys,
} from './protocol.ts';

/** keyd is started again within this time; requests meanwhile wait. */
const CONNECT_LIMIT_MS = 10_000;
const CONNECT_RETRY_MS = 50;
/** Below what keyd allows on a connection; more wait here. */
const MAX_REQUESTS_UNDER_WAY = 48;

export interface KeydClientOptions {
  socketPath: string;
  credentialFile: string;
  role: KeydRole;
  clock?: Clock;
  /** How long to go on trying to connect; 10 s unless said. */
  connectTimeoutMs?: number;
}

interface Waiter {
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
  timer: NodeJS.Timeout;
}

/** An authenticated connection. */
export interface Connection {
  ask(op: Operation, args: Record<string, unknown>, limitMs: number): Promise<unknown>;
  readonly alive: boolean;
  close(): void;
}

/**
 * Connects, trying again while keyd starts.
 *
 * @throws unavailable, unauthenticated, forbidden when that takes too long.
 */
export async function openConnection(options: KeydClientOptions, clock: Clock): Promise<Connection> {
  const deadlineMs = clock.monotonicMs() + (options.connectTimeoutMs ?? CONNECT_LIMIT_MS);
  for (;;) {
    try {
      return await connectOnce(options, clock);
    } catch (error) {
      // keyd may be starting again, with the same credentials or, after a new start of all, with new ones.
      if (clock.monotonicMs() >= deadlineMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MS));
    }
  }
}

async function connectOnce(options: KeydClientOptions, clock: Clock): Promise<Connection> {
  const credential = await readCredential(options.credentialFile, options.role);
  const socket = connect(shortPath(options.socketPath));
  const frames = frameQueue(socket);
  try {
    const client = randomBytes(32);
    const hello = { version: 1, role: options.role, nonce: client.toString('base64') };
    socket.write(encodeFrame(Buffer.from(JSON.stringify(hello))));
    const reply = JSON.parse((await frames.next()).toString('utf8')) as { nonce?: string; proof?: string };
    const server = Buffer.from(String(reply.nonce), 'base64');
    const given = Buffer.from(String(reply.proof), 'base64');
    const wanted = handshakeProof('server', credential, options.role, { client, server });
    // A process that only took over the socket's path does not know the key, and learns nothing from us.
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
      throw refused('what answers on the socket is not our key service');
    }
    const proof = handshakeProof('client', credential, options.role, { client, server }).toString('base64');
    socket.write(encodeFrame(Buffer.from(JSON.stringify({ proof }))));
    const keys = sessionKeys(credential, { client, server });
    const wallMs = () => clock.now().getTime();
    const open = createFrameOpener(keys.server, wallMs);
    open(await frames.next());
    return keepConnection(socket, frames, { open, seal: createFrameSealer(keys.client, wallMs) });
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    credential.fill(0);
  }
}

interface FrameQueue {
  next(): Promise<Buffer>;
  /** From now on every frame goes here. */
  forward(to: (frame: Buffer) => void): void;
}

function frameQueue(socket: Socket): FrameQueue {
  const read = createFrameReader(() => MAX_FRAME_BYTES);
  const frames: Buffer[] = [];
  let waiting: PromiseWithResolvers<Buffer> | undefined;
  let ended: Error | undefined;
  let sink = (frame: Buffer): void => {
    if (waiting) {
      waiting.resolve(frame);
      waiting = undefined;
    } else frames.push(frame);
  };
  const end = (cause?: Error) => {
    ended ??= unavailable('The key service does not answer', cause);
    waiting?.reject(ended);
  };
  const timer = setTimeout(() => socket.destroy(), CONNECT_LIMIT_MS);
  socket.on('data', (data: Buffer) => {
    try {
      for (const frame of read(data)) sink(frame);
    } catch {
      socket.destroy();
    }
  });
  socket.on('error', end);
  socket.on('close', () => {
    clearTimeout(timer);
    end();
  });
  return {
    next() {
      const frame = frames.shift();
      if (frame) return Promise.resolve(frame);
      if (ended) return Promise.reject(ended);
      waiting = Promise.withResolvers<Buffer>();
      return waiting.promise;
    },
    forward(to) {
      clearTimeout(timer);
      for (const frame of frames.splice(0)) to(frame);
      sink = to;
    },
  };
}

function keepConnection(
  socket: Socket,
  frames: FrameQueue,
  codec: { open: (body: Buffer) => Buffer; seal: (content: Buffer) => Buffer },
): Connection {
  const waiters = new Map<number, Waiter>();
  const queued: (() => void)[] = [];
  let lastId = 0;
  let alive = true;

  function finish(id: number): Waiter | undefined {
    const waiter = waiters.get(id);
    waiters.delete(id);
    clearTimeout(waiter?.timer);
    if (alive && waiters.size < MAX_REQUESTS_UNDER_WAY) queued.shift()?.();
    return waiter;
  }

  frames.forward((frame) => {
    try {
      const answer = JSON.parse(codec.open(frame).toString('utf8')) as WireAnswer;
      const waiter = finish(answer.id);
      if ('error' in answer) waiter?.reject(readError(answer.error));
      else waiter?.resolve(answer.result);
    } catch {
      socket.destroy();
    }
  });
  socket.on('close', () => {
    alive = false;
    for (const send of queued.splice(0)) send();
    for (const id of [...waiters.keys()]) finish(id)?.reject(unavailable('The key service went away'));
  });
  // An idle connection must not keep a process from ending.
  socket.unref();

  return {
    get alive() {
      return alive;
    },
    ask(op, args, limitMs) {
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      const send = () => {
        const id = (lastId += 1);
        const timer = setTimeout(() => {
          finish(id)?.reject(unavailable('The key service took too long to answer'));
        }, limitMs);
        waiters.set(id, { resolve, reject, timer });
        socket.write(codec.seal(Buffer.from(JSON.stringify({ id, op, args }))));
      };
      if (waiters.size < MAX_REQUESTS_UNDER_WAY) send();
      else queued.push(send);
      return promise;
    },
    close: () => socket.destroy(),
  };
}

type WireAnswer = { id: number; result: unknown } | { id: number; error: WireError };

/** A refusal as it comes over the socket. */
export interface WireError {
  code: string;
  message: string;
  hint?: string;
  detail?: string;
}

/** The error that keyd meant. */
export function readError(error: WireError): HoldfastError {
  const code = Object.hasOwn(ERROR_STATUS, error.code) ? (error.code as ErrorCode) : 'internal';
  const { hint, detail } = error;
  return new HoldfastError(code, error.message, {
    ...(hint === undefined ? {} : { hint }),
    ...(detail === undefined ? {} : { detail }),
  });
}

/** keyd cannot be reached, or went away. */
export function unavailable(message: string, cause?: unknown): HoldfastError {
  return new HoldfastError('unavailable', message, {
    hint: 'It is started again by itself; try again in a moment. If this stays, look into the log of keyd.',
    cause,
  });
}
