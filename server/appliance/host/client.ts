/** The server's way to hostd: HTTP over the unix socket that the machine image has and the embedded default has not. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { ERROR_STATUS, HoldfastError, isSystemError, type ErrorCode } from '../../lib/errors.ts';
import { shortPath } from '../../lib/sockets.ts';

export interface HostClient {
  /** @param timeoutMs a minute unless said otherwise. */
  get<T>(path: string, timeoutMs?: number): Promise<T>;
  /** @param timeoutMs how long the act may take; a minute unless said otherwise. */
  send<T>(
    method: 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    path: string,
    body?: unknown,
    timeoutMs?: number,
  ): Promise<T>;
}

/** The whole picture with a few dozen disks and ways stays far below. */
const REPLY_LIMIT_BYTES = 16 * 1024 * 1024;
const TIMEOUT_MS = 60_000;

/** @returns undefined where Holdfast does not run on its own machine image. */
export function connectHost(settings: { hostSocket: string | undefined }): HostClient | undefined {
  const { hostSocket } = settings;
  if (hostSocket === undefined) return undefined;
  const call = async <T>(
    method: string,
    path: string,
    body?: unknown,
    timeoutMs = TIMEOUT_MS,
  ): Promise<T> => {
    const response = await startCall(hostSocket, method, path, body, timeoutMs);
    const text = await readText(response);
    const status = response.statusCode ?? 500;
    if (status >= 400) throw errorFrom(status, text);
    return (text === '' ? undefined : JSON.parse(text)) as T;
  };
  return { get: (path, timeoutMs) => call('GET', path, undefined, timeoutMs), send: call };
}

/** As `connectHost`, for what makes sense on the machine image only. @throws HoldfastError `wrong_state` elsewhere. */
export function requireHost(host: HostClient | undefined): HostClient {
  if (host !== undefined) return host;
  throw new HoldfastError('wrong_state', 'This Holdfast does not run on its own machine image', {
    hint: 'Disks, network and updates of this machine are kept by its own operating system.',
  });
}

function startCall(
  socketPath: string,
  method: string,
  path: string,
  body: unknown,
  timeoutMs: number,
): Promise<IncomingMessage> {
  const payload = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const headers: Record<string, string | number> = { host: 'hostd' };
    if (payload !== undefined) {
      headers['content-type'] = 'application/json';
      headers['content-length'] = Buffer.byteLength(payload);
    }
    const request = httpRequest({ socketPath: shortPath(socketPath), method, path, headers }, resolve);
    request.setTimeout(timeoutMs, () => request.destroy(new Error('no answer in time')));
    request.on('error', (error) => reject(explain(error)));
    request.end(payload);
  });
}

async function readText(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > REPLY_LIMIT_BYTES) throw new HoldfastError('too_large', 'hostd answered with too much');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function errorFrom(status: number, text: string): HoldfastError {
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string; hint?: string } };
    const code = error.code in ERROR_STATUS ? (error.code as ErrorCode) : 'internal';
    return new HoldfastError(code, error.message, error.hint === undefined ? {} : { hint: error.hint });
  } catch {
    return new HoldfastError('internal', `hostd answered with status ${status}`);
  }
}

function explain(error: Error): HoldfastError {
  const gone = isSystemError(error, 'ENOENT', 'ECONNREFUSED');
  return new HoldfastError(
    'unavailable',
    gone ? 'The host daemon of this machine does not run' : 'The host daemon of this machine does not answer',
    { hint: 'Look at the state of holdfast-hostd at the console.', cause: error },
  );
}
