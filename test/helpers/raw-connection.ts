/** Requests as bytes, to say what no client library would. */
import { connect as connectPlain, type Socket } from 'node:net';
import { connect } from 'node:tls';
import { waitFor } from './wait-for.ts';

export interface RawConnection {
  socket: Socket;
  send(text: string | Buffer): void;
  /** All that came so far. */
  received(): string;
  /** Until something came that matches. */
  until(pattern: RegExp, limitMs?: number): Promise<string>;
  /** Until the other side has ended it. @returns all that came. */
  ended(limitMs?: number): Promise<string>;
  isOpen(): boolean;
  close(): void;
}

/** @param localAddress which of this machine's addresses it comes from, such as 127.0.0.2. */
export async function openRaw(port: number, localAddress = '127.0.0.1'): Promise<RawConnection> {
  const plain = connectPlain({ port, host: '127.0.0.1', localAddress });
  plain.on('error', () => undefined);
  const socket = connect({ socket: plain, rejectUnauthorized: false });
  let text = '';
  let open = true;
  let secure = false;
  socket.on('data', (part: Buffer) => (text += part.toString('latin1')));
  socket.on('close', () => (open = false));
  // A connection that is refused or cut off shows as closed.
  socket.on('error', () => undefined);
  socket.once('secureConnect', () => (secure = true));
  await waitFor('the connection', () => secure || !open, 10_000);
  return {
    socket,
    send: (bytes) => void socket.write(bytes),
    received: () => text,
    until: async (pattern, limitMs = 10_000) => {
      await waitFor(`${String(pattern)} in the answer`, () => pattern.test(text), limitMs);
      return text;
    },
    ended: async (limitMs = 10_000) => {
      await waitFor('the end of the connection', () => !open, limitMs);
      return text;
    },
    isOpen: () => open,
    close: () => void socket.destroy(),
  };
}

/** Sends the lines of one request. @returns its answer; empty when the connection was ended without one. */
export async function askRaw(port: number, lines: readonly string[], body = ''): Promise<string> {
  const connection = await openRaw(port);
  connection.send(`${lines.join('\r\n')}\r\n\r\n${body}`);
  const answered = /^HTTP\/1\.1 \d{3} [\s\S]*?\r\n\r\n/;
  await waitFor('an answer', () => answered.test(connection.received()) || !connection.isOpen());
  const answer = connection.received();
  connection.close();
  return answer;
}
