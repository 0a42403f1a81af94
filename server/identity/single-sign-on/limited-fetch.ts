/**
 * Requests to the provider: HTTPS only, to a server whose certificate stands for its name; no redirect is followed; an answer is small
 * and comes in time. By the proxy of the machine, where there is one.
 */
import { Agent, request, type RequestOptions } from 'node:https';
import { outgoingProxy } from '../../lib/config.ts';

const ANSWER_LIMIT_MS = 10_000;
/** Far more than a provider has to say. */
const MOST_ANSWER_BYTES = 256 * 1024;

interface Asked {
  method?: string;
  headers?: Record<string, string> | Headers;
  body?: unknown;
  signal?: AbortSignal | undefined;
}

export type LimitedFetch = (url: string, asked?: Asked) => Promise<Response>;

/** @param caCertificates PEM; when given, only these are trusted. */
export function limitedFetch(caCertificates: string | null): LimitedFetch {
  const proxy = outgoingProxy();
  const agent = new Agent({
    minVersion: 'TLSv1.2',
    ...(caCertificates === null ? {} : { ca: caCertificates }),
    ...(proxy === undefined ? {} : { proxyEnv: proxy }),
    maxSockets: 8,
  });
  return async (url, { method = 'GET', headers = {}, body, signal } = {}) => {
    const address = new URL(url);
    if (address.protocol !== 'https:') throw new TypeError(`Not an https address: ${address.protocol}`);
    const bytes = body === undefined || body === null ? undefined : Buffer.from(textOf(body));
    const sent = Object.fromEntries(new Headers(headers).entries());
    const limit = AbortSignal.timeout(ANSWER_LIMIT_MS);
    return ask(
      address,
      {
        ...{ method, agent, signal: signal === undefined ? limit : AbortSignal.any([limit, signal]) },
        headers: bytes === undefined ? sent : { ...sent, 'content-length': bytes.length },
      },
      bytes,
    );
  };
}

function textOf(body: unknown): string {
  if (typeof body === 'string') return body;
  if (body instanceof URLSearchParams) return body.toString();
  throw new TypeError('A request to the provider has a body of text');
}

function ask(address: URL, options: RequestOptions, body: Buffer | undefined): Promise<Response> {
  return new Promise((resolve, reject) => {
    const sent = request(address, options, (answer) => {
      const parts: Buffer[] = [];
      let size = 0;
      answer.on('data', (part: Buffer) => {
        size += part.length;
        if (size > MOST_ANSWER_BYTES) answer.destroy(tooMuch());
        else parts.push(part);
      });
      answer.on('error', reject);
      answer.on('end', () => {
        const status = answer.statusCode ?? 0;
        const headers = new Headers();
        for (const [name, value] of Object.entries(answer.headers))
          if (typeof value === 'string') headers.set(name, value);
        const empty = [101, 204, 205, 304].includes(status);
        resolve(new Response(empty ? null : Buffer.concat(parts), { status, headers }));
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

function tooMuch(): Error {
  return Object.assign(new Error('The answer is too long'), { code: 'ETOOLONG' });
}
