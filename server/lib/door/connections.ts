/**
 * Connections: how many, and that each moves. Guarantees: nobody holds one by sending or reading nothing, or nearly nothing; an
 * honest transfer may take as long as it takes, because only its least rate counts, never its whole time. What waits for us (a body
 * that we have not read yet, a handler at work) is not held against a client.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../clock.ts';
import type { Logger } from '../log.ts';
import { networkOf } from './client-address.ts';

export interface ConnectionLimits {
  /** At once, from one address (an IPv6 /64 is one). A browser opens six. */
  perAddress: number;
  /** At once, all together. */
  total: number;
  /** A new connection has sent a whole request head by then. */
  firstRequestMs: number;
  /** Over how long the rate is looked at. */
  windowMs: number;
  /** Bytes of a body that arrive in a window, at least. */
  leastReceived: number;
  /** Bytes of an answer that a client takes in a window, at least, while more waits. */
  leastTaken: number;
}

export const CONNECTION_LIMITS: ConnectionLimits = {
  perAddress: 256,
  total: 2_000,
  firstRequestMs: 20_000,
  windowMs: 30_000,
  leastReceived: 15_000,
  // Up to 64 KiB are one write; a client that takes one in half a minute is slow, and none.
  leastTaken: 1,
};

interface Watched {
  openedMs: number;
  exchange: { request: IncomingMessage; reply: ServerResponse } | undefined;
  /** Where the present window began; undefined while nothing waits for the client. */
  window: { way: 'receive' | 'send'; sinceMs: number; bytes: number } | undefined;
}

export interface DoorDeps {
  clock: Clock;
  log: Logger;
  /** A proxy carries many people: its connections are counted all together only. */
  isProxy: (address: string) => boolean;
}

/** Watches a server's connections until it closes. @param limits other ones for tests. */
export function guardConnections(server: Server, deps: DoorDeps, limits = CONNECTION_LIMITS): void {
  server.maxConnections = limits.total;
  limitPerAddress(server, deps, limits.perAddress);
  const watched = new Map<Socket, Watched>();
  // A TLS server tells of the connection under it first; requests come on the one above.
  const opened = 'setSecureContext' in server ? 'secureConnection' : 'connection';
  server.on(opened, (socket: Socket) => {
    watched.set(socket, {
      openedMs: deps.clock.monotonicMs(),
      exchange: undefined,
      window: undefined,
    });
    socket.once('close', () => watched.delete(socket));
  });
  server.on('request', (request: IncomingMessage, reply: ServerResponse) => {
    const state = watched.get(request.socket);
    if (state !== undefined) state.exchange = { request, reply };
  });
  const timer = setInterval(
    () => {
      const nowMs = deps.clock.monotonicMs();
      for (const [socket, state] of watched) {
        const why = findFault(socket, state, nowMs, limits);
        if (why === undefined) continue;
        deps.log.info({ address: socket.remoteAddress, why }, 'A connection was dropped');
        drop(socket, state);
      }
    },
    Math.min(5_000, limits.windowMs / 6),
  );
  timer.unref();
  server.once('close', () => {
    clearInterval(timer);
  });
}

function limitPerAddress(server: Server, deps: DoorDeps, most: number): void {
  const open = new Map<string, number>();
  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress;
    if (address === undefined || deps.isProxy(address)) return;
    const network = networkOf(address);
    const count = (open.get(network) ?? 0) + 1;
    if (count > most) {
      socket.destroy();
      return;
    }
    open.set(network, count);
    socket.once('close', () => {
      const left = (open.get(network) ?? 1) - 1;
      if (left === 0) open.delete(network);
      else open.set(network, left);
    });
  });
}

/** Why a connection is not kept; undefined for one that moves, or waits for us. */
function findFault(
  socket: Socket,
  state: Watched,
  nowMs: number,
  limits: ConnectionLimits,
): string | undefined {
  if (state.exchange === undefined && nowMs - state.openedMs > limits.firstRequestMs)
    return 'no request came';
  const way = waitingFor(socket, state);
  if (way === undefined) {
    state.window = undefined;
    return undefined;
  }
  const bytes = way === 'receive' ? socket.bytesRead : socket.bytesWritten - socket.writableLength;
  if (state.window?.way !== way) {
    state.window = { way, sinceMs: nowMs, bytes };
    return undefined;
  }
  if (nowMs - state.window.sinceMs < limits.windowMs) return undefined;
  const moved = bytes - state.window.bytes;
  state.window = { way, sinceMs: nowMs, bytes };
  if (way === 'receive') return moved < limits.leastReceived ? 'its body came too slowly' : undefined;
  return moved < limits.leastTaken ? 'it did not take its answer' : undefined;
}

function waitingFor(socket: Socket, { exchange }: Watched): 'receive' | 'send' | undefined {
  if (socket.writableLength > 0) return 'send';
  if (exchange === undefined || exchange.request.complete || exchange.request.readableLength > 0)
    return undefined;
  return 'receive';
}

function drop(socket: Socket, { exchange }: Watched): void {
  const unanswered = exchange !== undefined && !exchange.reply.headersSent && !exchange.request.complete;
  if (unanswered)
    socket.write('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  socket.destroySoon();
  // Who does not read does not take the end either.
  const timer = setTimeout(() => socket.destroy(), 1_000);
  timer.unref();
}
