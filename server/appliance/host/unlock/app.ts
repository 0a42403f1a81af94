/**
 * The two doors of the unlock desk: the page over HTTPS, and the console's socket. Guarantees of the page: nothing but the state
 * and the form; no script; at most a few keys a minute; every attempt takes the same path whatever was typed.
 */
import { hostname } from 'node:os';
import helmet from '@fastify/helmet';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Clock } from '../../../lib/clock.ts';
import { ERROR_STATUS, HoldfastError } from '../../../lib/errors.ts';
import { installErrorReplies, newRequestId } from '../../../lib/http.ts';
import type { Logger } from '../../../lib/log.ts';
import type { TlsIdentity } from '../../../lib/tls.ts';
import type { UnlockDesk } from './desk.ts';
import { createLimits } from './limits.ts';
import { PAGE_STYLE, renderUnlockPage } from './page.ts';

interface PageOptions {
  desk: UnlockDesk;
  clock: Clock;
  log: Logger;
  tls: Pick<TlsIdentity, 'certificate' | 'key'>;
  /** Whether an address may see the page at all. */
  isAllowed: (address: string) => boolean;
}

const BODY_LIMIT_BYTES = 4096;
const MOST_KEY_CHARACTERS = 512;
const TIMEOUT_MS = 20_000;
/** A slow machine derives several keys before it answers, while nothing is said on the connection. */
const ANSWER_MS = 5 * 60_000;
/** Of a page without script. */
export const PAGE_SECURITY = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      styleSrc: ["'self'"],
      formAction: ["'self'"],
      baseUri: ["'none'"],
      frameAncestors: ["'none'"],
    },
  },
  referrerPolicy: { policy: 'no-referrer' as const },
  // The page's own certificate must stay acceptable to those who compare its fingerprint.
  strictTransportSecurity: false,
  xFrameOptions: { action: 'deny' as const },
};

/** For people, over the network. */
export async function buildUnlockPage(options: PageOptions): Promise<FastifyInstance> {
  const { desk, tls, log, clock } = options;
  const limits = createLimits(clock);
  const app = fastify({
    loggerInstance: log.child({}, { level: log.level === 'silent' ? 'silent' : 'warn' }),
    genReqId: newRequestId,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: TIMEOUT_MS,
    connectionTimeout: ANSWER_MS,
    trustProxy: false,
    forceCloseConnections: true,
    https: { cert: tls.certificate, key: tls.key, minVersion: 'TLSv1.3', headersTimeout: TIMEOUT_MS },
  }) as unknown as FastifyInstance;
  await app.register(helmet, PAGE_SECURITY);
  app.addHook('onRequest', async (request, reply) => {
    reply.header('cache-control', 'no-store');
    if (!options.isAllowed(request.ip)) {
      throw new HoldfastError('forbidden', 'This machine is not unlocked from your network', {
        hint: 'Use one of its management networks, or its console.',
      });
    }
  });
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string', bodyLimit: BODY_LIMIT_BYTES },
    (_request, body, done) => done(null, { key: new URLSearchParams(String(body)).get('key') }),
  );
  const page = (reply: FastifyReply, status: number, problem?: HoldfastError) =>
    reply
      .status(status)
      .type('text/html; charset=utf-8')
      .send(renderUnlockPage({ state: desk.state(), hostName: hostname(), problem }));

  app.get('/', (_request, reply) => page(reply, 200));
  app.get('/unlock.css', (_request, reply) => reply.type('text/css; charset=utf-8').send(PAGE_STYLE));
  for (const path of ['/health', '/health/live', '/health/ready'])
    app.get(path, (_request, reply) => reply.status(503).send({ status: desk.state().kind }));
  app.post('/unlock', async (request, reply) => {
    const wantsJson = request.headers.accept === 'application/json';
    try {
      refuseForged(request);
      const key = readKey(request.body);
      limits.count(request.ip);
      await desk.tryKey(key, { kind: 'system', label: 'unlock-page', address: request.ip });
      return wantsJson ? await reply.send(desk.state()) : await page(reply, 200);
    } catch (error) {
      if (!(error instanceof HoldfastError) || wantsJson) throw error;
      return page(reply, ERROR_STATUS[error.code], error);
    }
  });
  installErrorReplies(app);
  // A bookmark of the appliance leads here while it is locked.
  app.get('/*', (request, reply) => {
    if (request.headers.accept?.includes('text/html') === true) return reply.redirect('/', 303);
    throw new HoldfastError('not_found', 'This machine is locked');
  });
  return app;
}

/** For whoever is root at the console. */
export function buildUnlockConsole(
  desk: UnlockDesk,
  log: Logger,
  facts: () => Record<string, unknown>,
): FastifyInstance {
  const app = fastify({
    loggerInstance: log.child({}, { level: log.level === 'silent' ? 'silent' : 'warn' }),
    genReqId: newRequestId,
    bodyLimit: BODY_LIMIT_BYTES,
    // Who asked a moment ago keeps a connection for the next question: the start must not wait until it gives that up.
    forceCloseConnections: 'idle',
  }) as unknown as FastifyInstance;
  installErrorReplies(app);
  app.get('/state', () => ({ ...facts(), ...desk.state() }));
  app.post('/unlock', async (request) => {
    await desk.tryKey(readKey(request.body), { kind: 'console', label: 'root' });
    return desk.state();
  });
  app.post('/disk', async (request) => {
    await desk.chooseDisk(readDevice(request.body));
    return desk.state();
  });
  return app;
}

function readKey(body: unknown): string {
  const key = (body as { key?: unknown } | null)?.key;
  if (typeof key === 'string' && key !== '' && key.length <= MOST_KEY_CHARACTERS && !/[\r\n\u0000]/.test(key))
    return key;
  throw new HoldfastError('invalid_input', 'Type a passphrase or a recovery key', {
    hint: `One line of at most ${MOST_KEY_CHARACTERS} characters.`,
  });
}

function readDevice(body: unknown): string {
  const path = (body as { path?: unknown } | null)?.path;
  if (typeof path === 'string' && /^\/dev\/[^\u0000]{1,200}$/.test(path)) return path;
  throw new HoldfastError('invalid_input', 'Name a disk by its device', {
    hint: 'Such as /dev/vdb or /dev/disk/by-id/….',
  });
}

/** Another site could make a browser try keys, which only serves to use up the limit; it is refused all the same. */
function refuseForged(request: FastifyRequest): void {
  const site = request.headers['sec-fetch-site'];
  if (site === undefined || site === 'same-origin' || site === 'none') return;
  throw new HoldfastError('forbidden', 'This came from another page');
}
