/** Speaks HTTP with the running appliance over its control socket, which only its own account and root may open. */
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { accountName } from '../lib/config.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { ERROR_STATUS, HoldfastError, isSystemError, type ErrorCode } from '../lib/errors.ts';
import { shortPath } from '../lib/sockets.ts';

export interface ControlClient {
  get<T>(path: string): Promise<T>;
  /** The reply as it is, for what is signed. */
  getText(path: string): Promise<string>;
  /** The reply as it comes, of any length. @throws while it is read, when the appliance stops in the middle of it. */
  getStream(path: string): Promise<AsyncIterable<Buffer>>;
  send<T>(method: 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<T>;
  /** Sends bytes as they come. Who does not take all of them answers why. */
  sendContent<T>(path: string, content: Readable, sizeBytes: number): Promise<T>;
  /** Reads a reply of JSON lines as they come. @throws the error of a line `{ "error": … }`. */
  sendStreaming(path: string, body: unknown, onLine: (line: Record<string, unknown>) => void): Promise<void>;
}

/** Replies are lists of at most a few hundred rows, or a report. */
const REPLY_LIMIT_BYTES = 64 * 1024 * 1024;

export function openControl(dataDir: string): ControlClient {
  const socket = dataPaths(dataDir).controlSocket;
  const call = (method: string, path: string, body?: unknown) =>
    startCall(socket, dataDir, method, path, body);
  const readReply = async (method: string, path: string, body?: unknown): Promise<string> => {
    const response = await call(method, path, body);
    const text = await readText(response);
    if ((response.statusCode ?? 500) >= 400) throw errorFromReply(response.statusCode ?? 500, text);
    return text;
  };
  const read = async <T>(method: string, path: string, body?: unknown): Promise<T> => {
    const text = await readReply(method, path, body);
    return (text === '' ? undefined : JSON.parse(text)) as T;
  };
  return {
    get: (path) => read('GET', path),
    getText: (path) => readReply('GET', path),
    getStream: async (path) => {
      const response = await call('GET', path);
      const status = response.statusCode ?? 500;
      if (status >= 400) throw errorFromReply(status, await readText(response));
      return readWhole(response, dataDir);
    },
    send: read,
    sendContent: async <T>(path: string, content: Readable, sizeBytes: number) => {
      const response = await startContent(socket, dataDir, path, { content, sizeBytes });
      const text = await readText(response);
      content.destroy();
      if ((response.statusCode ?? 500) >= 400) throw errorFromReply(response.statusCode ?? 500, text);
      return JSON.parse(text) as T;
    },
    sendStreaming: async (path, body, onLine) => {
      const response = await call('POST', path, body);
      if ((response.statusCode ?? 500) >= 400)
        throw errorFromReply(response.statusCode ?? 500, await readText(response));
      try {
        for await (const line of createInterface({ input: response, crlfDelay: Infinity })) {
          if (line === '') continue;
          const value = JSON.parse(line) as Record<string, unknown>;
          if (value.error !== undefined) throw errorFromReply(500, line);
          onLine(value);
        }
      } catch (error) {
        if (error instanceof HoldfastError || !(error instanceof Error)) throw error;
        throw gone(dataDir, error);
      }
      if (!response.complete) throw gone(dataDir);
    },
  };
}

/** True when an appliance answers on this data folder. */
export async function isRunning(dataDir: string): Promise<boolean> {
  try {
    await openControl(dataDir).get('/health/live');
    return true;
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'unavailable') return false;
    throw error;
  }
}

async function startCall(
  socket: string,
  dataDir: string,
  method: string,
  path: string,
  body: unknown,
): Promise<IncomingMessage> {
  const payload = body === undefined ? undefined : JSON.stringify(body);
  // `serve` never calls, and its process stays: without it is 5 MiB smaller.
  const { request: httpRequest } = await import('node:http');
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        socketPath: shortPath(socket),
        method,
        path: path.startsWith('/health/') ? path : `/api/v1${path}`,
        headers: {
          host: 'console',
          'x-holdfast': '1',
          'x-holdfast-account': accountName(),
          ...(payload === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }),
        },
      },
      resolve,
    );
    request.on('error', (error) => reject(explainSocketError(error, dataDir)));
    request.end(payload);
  });
}

async function startContent(
  socket: string,
  dataDir: string,
  path: string,
  { content, sizeBytes }: { content: Readable; sizeBytes: number },
): Promise<IncomingMessage> {
  const { request: httpRequest } = await import('node:http');
  const headers = {
    ...{ host: 'console', 'x-holdfast': '1', 'x-holdfast-account': accountName() },
    ...{ 'content-type': 'application/octet-stream', 'content-length': sizeBytes },
  };
  return new Promise((resolve, reject) => {
    const options = { socketPath: shortPath(socket), method: 'PUT', path: `/api/v1${path}`, headers };
    let answered = false;
    const request = httpRequest(options, (response) => {
      answered = true;
      resolve(response);
    });
    // After an answer the rest is not taken any more.
    request.on('error', (error) => {
      if (!answered) reject(explainSocketError(error, dataDir));
    });
    content.on('error', (error) => request.destroy(error));
    content.pipe(request);
  });
}

/** A reply that ends too early looks like one that is over. */
async function* readWhole(response: IncomingMessage, dataDir: string): AsyncGenerator<Buffer> {
  try {
    yield* response as AsyncIterable<Buffer>;
  } catch (error) {
    throw gone(dataDir, error instanceof Error ? error : undefined);
  }
  if (!response.complete) throw gone(dataDir);
}

async function readText(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > REPLY_LIMIT_BYTES)
      throw new HoldfastError('too_large', 'The appliance answered with too much');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** The error that a reply carries. */
export function errorFromReply(status: number, text: string): HoldfastError {
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string; hint?: string } };
    const code = error.code in ERROR_STATUS ? (error.code as ErrorCode) : 'internal';
    return new HoldfastError(code, error.message, error.hint === undefined ? {} : { hint: error.hint });
  } catch {
    return new HoldfastError('internal', `The appliance answered with status ${status}`);
  }
}

function explainSocketError(error: Error, dataDir: string): HoldfastError {
  if (isSystemError(error, 'EACCES', 'EPERM')) {
    return new HoldfastError('forbidden', 'This account may not talk to the appliance', {
      hint: 'Run the command as the account that runs Holdfast, or as root.',
      cause: error,
    });
  }
  if (isSystemError(error, 'ENOENT', 'ECONNREFUSED', 'ENOTDIR')) {
    return new HoldfastError('unavailable', `No Holdfast runs on ${dataDir}`, {
      hint: 'Start it with `holdfast serve`, or name its folder with --data or HOLDFAST_DATA.',
      cause: error,
    });
  }
  return gone(dataDir, error);
}

function gone(dataDir: string, cause?: Error): HoldfastError {
  return new HoldfastError('unavailable', 'The appliance stopped answering', {
    hint: `It may be restarting; see its log, and \`holdfast doctor --data ${dataDir}\`.`,
    cause,
  });
}
