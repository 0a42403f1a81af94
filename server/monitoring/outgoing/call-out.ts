/**
 * One call to an address that an administrator gave. Guarantees: it goes only where targets may go, to the address that was looked at;
 * no redirect is followed; it is over in ten seconds; of the answer only its status is taken, and what is said of a failure never
 * holds the path or query of the address, which are secrets.
 */
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { mayReachOwnMachine, outgoingProxy } from '../../lib/config.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { pinnedLookup, resolveOutgoing } from '../../lib/outgoing-address.ts';

const LIMIT_MS = 10_000;
/** More than that of an answer is not taken off the line. */
const MOST_ANSWER_BYTES = 4096;
const LONGEST_RETRY_AFTER_S = 3600;

export interface Call {
  url: URL;
  method: 'GET' | 'POST';
  headers?: Record<string, string>;
  body?: string;
  allowHttp: boolean;
}

export interface CallResult {
  good: boolean;
  status: number | null;
  /** For people: what came back, or why nothing did. */
  message: string;
  hint: string | null;
  tookMs: number;
  /** What the server asks us to wait. */
  retryAfterMs: number | null;
}

/** Never throws. */
export async function callOut(call: Call, limitMs = LIMIT_MS): Promise<CallResult> {
  const startMs = performance.now();
  const took = () => Math.round(performance.now() - startMs);
  const limit = AbortSignal.timeout(limitMs);
  try {
    const answer = await beforeLimit(ask(call, limit), limit);
    return { ...tellStatus(answer), tookMs: took() };
  } catch (error) {
    const { message, hint } = limit.aborted
      ? {
          message: `No answer within ${limitMs / 1000} s`,
          hint: `The server of ${call.url.host} took the connection or not, and said nothing.`,
        }
      : explain(error, call.url);
    return { good: false, status: null, message, hint, tookMs: took(), retryAfterMs: null };
  }
}

async function beforeLimit<T>(work: Promise<T>, limit: AbortSignal): Promise<T> {
  const over = Promise.withResolvers<never>();
  const end = () => over.reject(new Error('the time is over'));
  limit.addEventListener('abort', end, { once: true });
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    limit.removeEventListener('abort', end);
    // What comes too late is nobody's any more.
    work.catch(() => undefined);
  }
}

async function ask(
  { url, method, headers, body, allowHttp }: Call,
  limit: AbortSignal,
): Promise<IncomingMessage> {
  const secure = url.protocol === 'https:';
  if (!secure && !allowHttp)
    throw new HoldfastError('invalid_input', 'Plain http is not allowed for this address');
  const proxy = secure ? outgoingProxy() : undefined;
  const literal = isIP(url.hostname.replace(/^\[|\]$/g, '')) !== 0;
  // Behind a proxy names are its matter, and often unknown here.
  const addresses =
    proxy !== undefined && !literal
      ? undefined
      : await resolveOutgoing(url.hostname, mayReachOwnMachine() ? 'loopback' : 'no');
  limit.throwIfAborted();
  return new Promise((resolve, reject) => {
    const options = {
      method,
      headers: {
        'user-agent': 'Holdfast',
        ...headers,
        ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }),
      },
      signal: limit,
      ...(addresses === undefined ? {} : { lookup: pinnedLookup(addresses) }),
    };
    const take = (answer: IncomingMessage) => {
      let size = 0;
      answer.on('data', (part: Buffer) => {
        size += part.length;
        if (size > MOST_ANSWER_BYTES) answer.destroy();
      });
      answer.on('error', () => undefined);
      resolve(answer);
    };
    let sent: ClientRequest;
    if (!secure) sent = httpRequest(url, { ...options, agent: false }, take);
    else {
      const agent = proxy === undefined ? false : new Agent({ proxyEnv: proxy });
      sent = httpsRequest(url, { ...options, agent, minVersion: 'TLSv1.2' }, take);
    }
    sent.on('error', reject);
    sent.end(body);
  });
}

function tellStatus(answer: IncomingMessage): Omit<CallResult, 'tookMs'> {
  const status = answer.statusCode ?? 0;
  const said = { status, message: `Answered ${status}`, hint: null, retryAfterMs: null };
  if (status >= 200 && status < 300) return { ...said, good: true };
  if (status >= 300 && status < 400) {
    return { ...said, good: false, hint: 'Redirects are not followed: give the address that it leads to.' };
  }
  const seconds = Number(answer.headers['retry-after']);
  const asked = (status === 429 || status === 503) && seconds > 0;
  return {
    ...said,
    good: false,
    hint: status >= 500 ? 'Something is wrong at the receiver.' : 'Look whether the address is still right.',
    retryAfterMs: asked ? Math.min(seconds, LONGEST_RETRY_AFTER_S) * 1000 : null,
  };
}

/** Only words of ours and codes: messages of libraries may hold the address. */
function explain(error: unknown, url: URL): { message: string; hint: string | null } {
  if (error instanceof HoldfastError) return { message: error.message, hint: error.hint ?? null };
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (/CERT|UNABLE_TO_VERIFY|SELF_SIGNED|ALTNAME/.test(code)) {
    const hint = 'It must be signed by a known authority and stand for that name.';
    return { message: `The certificate of ${url.host} is not trusted (${code})`, hint };
  }
  if (code.startsWith('HPE_') || code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'EPROTO') {
    const hint = 'Check the port, and whether it is https.';
    return { message: `What answers at ${url.host} does not speak ${url.protocol.slice(0, -1)}`, hint };
  }
  return {
    message: `${url.host} cannot be reached${/^E[A-Z_]{2,30}$/.test(code) ? ` (${code})` : ''}`,
    hint: 'Check the address, the network, and which ports the firewall of this machine lets out.',
  };
}
