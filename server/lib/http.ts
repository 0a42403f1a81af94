/** What every HTTP reply of the product has in common: the error body, the request id, the limits. */
import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ERROR_STATUS, HoldfastError, type ErrorCode } from './errors.ts';
import { explainDatabaseError } from './db.ts';

/** JSON bodies are small; file bytes travel as streams and have no such limit. */
export const JSON_BODY_LIMIT_BYTES = 256 * 1024;

/** Of a refused upload; a client that sends more than this is cut off. */
const MOST_DROPPED_BYTES = 512 * 1024 * 1024;

export function newRequestId(): string {
  return randomUUID();
}

interface ErrorBody {
  error: { code: string; message: string; hint?: string; requestId: string };
}

const errorCodes = new WeakMap<FastifyRequest, string>();

/** Why a request was refused or failed; undefined when it was not. */
export function errorCodeOf(request: FastifyRequest): string | undefined {
  return errorCodes.get(request);
}

/** The reply to any error: public text to the caller, the rest to the log. */
export function installErrorReplies(app: FastifyInstance): void {
  app.setErrorHandler((error: FastifyError | HoldfastError, request, reply) => {
    const known =
      hasLeft(request) && !(error instanceof HoldfastError) ? leftEarly(error) : toHoldfastError(error);
    const status = ERROR_STATUS[known.code];
    const entry = { err: error, code: known.code, detail: known.detail };
    if (status >= 500) request.log.error(entry, known.message);
    else request.log.info({ code: known.code, detail: known.detail }, known.message);
    return sendError(request, reply, known);
  });
  app.setNotFoundHandler((request, reply) =>
    sendError(request, reply, new HoldfastError('not_found', 'There is nothing at this address')),
  );
}

function sendError(request: FastifyRequest, reply: FastifyReply, error: HoldfastError): FastifyReply {
  errorCodes.set(request, error.code);
  const body: ErrorBody = {
    error: {
      code: error.code,
      message: error.message,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      requestId: request.id,
    },
  };
  // The framework would close the connection under a client that still sends, and the answer would be lost: it goes on reading.
  if (error.code === 'too_large') reply.removeHeader('connection');
  drainBody(request);
  return reply.status(ERROR_STATUS[error.code]).type('application/json').send(JSON.stringify(body));
}

/** What cannot be routed at all: a broken percent sign, a parameter too long. */
export function answerFrameworkError(
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  const message = 'The address of this request is not valid';
  void sendError(request, reply, new HoldfastError('invalid_input', message, { cause: error }));
}

/** What is no HTTP, too much of it, or came too late: answered on the bare connection, which ends. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const status =
    error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : error.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400;
  const message = {
    400: 'This is no valid HTTP request',
    408: 'The head of the request came too slowly',
    431: 'The headers of the request are too large',
  }[status];
  const body = JSON.stringify({ error: { code: 'invalid_input', message, requestId: newRequestId() } });
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
      'Connection: close',
      'Content-Type: application/json; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
      '',
      body,
    ].join('\r\n'),
  );
  // One that does not take the answer is not waited for.
  setTimeout(() => socket.destroy(), 1_000).unref();
}

/** A refused upload still has bytes on the way: closing on them would lose the answer. They are read and dropped, up to a limit. */
function drainBody(request: FastifyRequest): void {
  const { raw } = request;
  if (raw.readableEnded || raw.destroyed) return;
  let dropped = 0;
  raw.on('data', (part: Buffer) => {
    dropped += part.length;
    if (dropped > MOST_DROPPED_BYTES) raw.destroy();
  });
  raw.resume();
}

/** Whoever hangs up in the middle of a body: the error is of their connection, not of ours to the database, though both have one code. */
function hasLeft({ raw }: FastifyRequest): boolean {
  return raw.destroyed && !raw.complete;
}

function leftEarly(cause: Error): HoldfastError {
  return new HoldfastError('invalid_input', 'The client left before its request was whole', { cause });
}

function toHoldfastError(error: FastifyError | HoldfastError): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const explained = explainDatabaseError(error);
  if (explained instanceof HoldfastError) return explained;
  if (error.validation) {
    return new HoldfastError('invalid_input', `The request is not valid: ${error.message}`, { cause: error });
  }
  const byStatus: Partial<Record<number, ErrorCode>> = {
    400: 'invalid_input',
    401: 'unauthenticated',
    403: 'forbidden',
    404: 'not_found',
    413: 'too_large',
    415: 'invalid_input',
    429: 'too_many_requests',
    503: 'unavailable',
  };
  const code = error.statusCode === undefined ? undefined : byStatus[error.statusCode];
  if (code === 'too_large') {
    return new HoldfastError(code, 'The body of this request is too large', {
      hint: `${JSON_BODY_LIMIT_BYTES / 1024} KiB of JSON are the most; files travel as application/octet-stream.`,
      cause: error,
    });
  }
  if (code !== undefined) return new HoldfastError(code, error.message, { cause: error });
  return new HoldfastError('internal', 'Something went wrong inside the appliance', {
    hint: 'Look in the log for the request id.',
    cause: error,
  });
}

/** How often an open stream looks whether its reader may still read: who may not any more is gone within a second. */
const STREAM_CHECK_MS = 900;
/** How many looks later it shows intermediaries that it lives. */
const CHECKS_PER_SIGN = 6;

/**
 * Starts a server-sent event stream. Call `end` when done; `closed` aborts when the browser goes away.
 *
 * @param mayRead asked every second: a stream does not outlive the right to it.
 */
export function startEventStream(
  request: FastifyRequest,
  reply: FastifyReply,
  mayRead: () => Promise<boolean>,
): EventStream {
  const gone = new AbortController();
  const headers = Object.fromEntries(
    Object.entries(reply.getHeaders()).filter(
      (entry): entry is [string, string | number | string[]] => entry[1] !== undefined,
    ),
  );
  reply.hijack();
  reply.raw.writeHead(200, {
    ...headers,
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  });
  reply.raw.write('retry: 2000\n\n');
  const stop = () => {
    clearInterval(heartbeat);
    gone.abort();
  };
  let looks = 0;
  const check = async () => {
    const allowed = await mayRead().catch(() => false);
    if (gone.signal.aborted) return;
    if (allowed) {
      if (looks++ % CHECKS_PER_SIGN === 0) reply.raw.write(': still here\n\n');
    } else {
      stop();
      reply.raw.end();
    }
  };
  const heartbeat = setInterval(() => void check(), STREAM_CHECK_MS);
  request.raw.once('close', stop);
  reply.raw.once('close', stop);
  return {
    closed: gone.signal,
    send: (event, data) => {
      if (!gone.signal.aborted) reply.raw.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    },
    end: () => {
      stop();
      reply.raw.end();
    },
  };
}

export interface EventStream {
  closed: AbortSignal;
  send(event: string, data: unknown): void;
  end(): void;
}
