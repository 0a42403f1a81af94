/** One HTTPS request from an address of choice, to the end or to a time limit. */
import { request } from 'node:https';
import type { Target } from './verdict.ts';

export interface Asked {
  method?: string;
  path: string;
  /** Of this machine, such as `127.0.9.9`. */
  from: string;
  body?: object;
  cookie?: string;
  timeoutMs?: number;
}

/** @throws Error when there is no whole answer in time. */
export async function ask(
  target: Pick<Target, 'port' | 'authority'>,
  { method = 'GET', path, from, body, cookie, timeoutMs = 60_000 }: Asked,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        ...{
          host: '127.0.0.1',
          port: target.port,
          servername: 'localhost',
          localAddress: from,
          agent: false,
        },
        ...{ method, path, ca: target.authority, signal: AbortSignal.timeout(timeoutMs) },
        headers: {
          ...{ host: `localhost:${target.port}`, 'x-holdfast': '1' },
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(cookie === undefined ? {} : { cookie }),
        },
      },
      (reply) => {
        const parts: Buffer[] = [];
        reply.on('data', (part: Buffer) => parts.push(part));
        reply.on('error', reject);
        reply.on('end', () =>
          resolve({ status: reply.statusCode ?? 0, text: Buffer.concat(parts).toString() }),
        );
      },
    );
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
