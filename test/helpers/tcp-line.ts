/** A port of its own that leads to a server, and can be slow, silent, cut, garbled, or lead to another server from a moment on. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export type LineMishap =
  /** Both sides are told that the other one broke off. */
  | 'reset'
  /** That side seems to have said all it had to say. */
  | 'half-closed'
  /** One bit is another. */
  | 'garbled'
  /** Only the half of it comes, then the line is cut. */
  | 'short'
  /** It comes late. */
  | 'slow';
const SLOW_MS = 200;

export interface TcpLine {
  port: number;
  /** Where the next connections go. */
  to(port: number): void;
  /** Each piece that the server says is held back for so long; Infinity: for good. */
  delay(ms: number): void;
  /** Decides for each piece that either side says; without a word it passes. */
  strike: (from: 'client' | 'server') => LineMishap | undefined;
  /** Told of each that was done. */
  befell: () => void;
  close(): void;
}

export async function openTcpLine(first: number): Promise<TcpLine> {
  let behind = first;
  let delayMs = 0;
  const open = new Set<Socket>();
  const struckAs = (from: 'client' | 'server') => ({
    strike: () => tcpLine.strike(from),
    befell: () => tcpLine.befell(),
  });
  const line = createServer((near) => {
    const far = connect(behind, '127.0.0.1');
    void carry(near, far, { ...struckAs('client'), delayMs: () => 0 });
    void carry(far, near, { ...struckAs('server'), delayMs: () => delayMs });
    for (const [side, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(side);
      side.on('error', () => undefined);
      side.on('close', () => {
        open.delete(side);
        other.destroy();
      });
    }
  });
  line.listen(0, '127.0.0.1');
  await once(line, 'listening');
  const tcpLine: TcpLine = {
    port: (line.address() as AddressInfo).port,
    strike: () => undefined,
    befell: () => undefined,
    to: (port) => {
      behind = port;
    },
    delay: (ms) => {
      delayMs = ms;
    },
    close: () => {
      line.close();
      for (const socket of open) socket.destroy();
    },
  };
  return tcpLine;
}

interface Carrying {
  delayMs: () => number;
  strike: () => LineMishap | undefined;
  befell: () => void;
}

async function carry(from: Socket, to: Socket, { delayMs, strike, befell }: Carrying): Promise<void> {
  let saysNoMore = false;
  try {
    // Leaving this loop would close the side that it reads.
    for await (const piece of from as AsyncIterable<Buffer>) {
      const mishap = strike();
      const ms = mishap === 'slow' ? SLOW_MS : delayMs();
      if (saysNoMore || ms === Infinity) continue;
      if (mishap !== undefined) befell();
      if (ms > 0) await sleep(ms);
      if (mishap === 'reset') {
        from.resetAndDestroy();
        return void to.resetAndDestroy();
      }
      if (mishap === 'half-closed') {
        saysNoMore = true;
        to.end();
        continue;
      }
      if (mishap === 'garbled') piece.writeUInt8((piece.at(-1) ?? 0) ^ 1, piece.length - 1);
      if (mishap === 'short') return void to.end(piece.subarray(0, piece.length / 2));
      if (!to.write(piece)) await once(to, 'drain');
    }
    to.end();
  } catch {
    // It was cut.
  }
}
