/** A port of its own that leads to a server, and can be slow, silent, or lead to another server from a moment on. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface TcpLine {
  port: number;
  /** Where the next connections go. */
  to(port: number): void;
  /** Each piece that the server says is held back for so long; Infinity: for good. */
  delay(ms: number): void;
  close(): void;
}

export async function openTcpLine(first: number): Promise<TcpLine> {
  let behind = first;
  let delayMs = 0;
  const open = new Set<Socket>();
  const line = createServer((near) => {
    const far = connect(behind, '127.0.0.1');
    near.pipe(far);
    void answer(far, near, () => delayMs);
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
  return {
    port: (line.address() as AddressInfo).port,
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
}

async function answer(from: Socket, to: Socket, delayMs: () => number): Promise<void> {
  try {
    for await (const piece of from as AsyncIterable<Buffer>) {
      const ms = delayMs();
      if (ms === Infinity) return;
      if (ms > 0) await sleep(ms);
      to.write(piece);
    }
  } catch {
    // It was cut.
  }
}
