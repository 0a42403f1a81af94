/**
 * How often one address and one person may ask. Wide enough for a folder of small files, narrow enough that one cannot starve all. Who is
 * signed in has a count of their own: whoever else asks from behind the same gateway takes nothing of it.
 */
import { createHash } from 'node:crypto';
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { HoldfastError } from '../errors.ts';
import { clientAddress, networkOf } from './client-address.ts';

/** Each in a minute. */
export const RATES = {
  /** From one address, of everybody there who is not signed in; a browser that uploads many small files needs a few thousand. */
  address: 12_000,
  /** Of one signed-in person, from wherever. */
  person: 9_000,
  /** Changes by somebody who is not signed in, from one address: signing in, claiming. Many people may share one. */
  unknown: 300,
};

/** Credentials that the guard accepted and has not refused since; the oldest go first. */
const MOST_KNOWN = 10_000;
/** So long after the guard accepted it last: a session that nobody uses ends by then, and nothing here is told of it. */
const KNOWN_MS = 30 * 60_000;
const READING = ['GET', 'HEAD', 'OPTIONS'];

interface Rates {
  /** Counts a request before anything is asked about it, unless it comes with what the guard accepted before. */
  address(request: FastifyRequest, reply: FastifyReply): Promise<void>;
  /** Counts it again once it is known who asks; undefined: nobody signed in. */
  caller(request: FastifyRequest, reply: FastifyReply, caller: string | undefined): Promise<void>;
}

/** @returns counters; each throws `too_many_requests` and sets `Retry-After`. */
export async function installRates(app: FastifyInstance, rates = RATES): Promise<Rates> {
  await app.register(rateLimit, { global: false });
  const counter = (max: number, what: string, keyOf: (request: FastifyRequest) => string) => {
    const count = app.createRateLimit({
      ...{ max, timeWindow: '1 minute', cache: 10_000 },
      keyGenerator: keyOf,
    });
    return async (request: FastifyRequest, reply: FastifyReply) => {
      const outcome = await count(request);
      if (outcome.isAllowed || !outcome.isExceeded) return;
      const seconds = Math.max(1, Math.ceil(outcome.ttl / 1000));
      reply.header('retry-after', seconds);
      throw new HoldfastError('too_many_requests', `Too many requests from ${what}`, {
        hint: `Try again in ${seconds} s.`,
      });
    };
  };
  const addressOf = (request: FastifyRequest) => networkOf(clientAddress(request));
  const callers = new WeakMap<FastifyRequest, string>();
  const known = rememberCredentials(app, (request) => callers.has(request));
  const address = counter(rates.address, 'this address', addressOf);
  const person = counter(rates.person, 'you', (request) => callers.get(request) ?? '');
  const credential = counter(rates.person, 'you', (request) => known.find(request) ?? '');
  const unknown = counter(rates.unknown, 'this address', addressOf);
  return {
    address: async (request, reply) => {
      if (known.find(request) === undefined) await address(request, reply);
    },
    caller: async (request, reply, caller) => {
      if (caller !== undefined) {
        known.add(request);
        callers.set(request, caller);
        await person(request, reply);
      } else if (!READING.includes(request.method)) {
        // Nobody asked whether what came with it still counts, so it may neither spare the address nor use up a person's count.
        await unknown(request, reply);
      } else if (known.find(request) !== undefined) {
        // A page and its parts are open to all: whoever is signed in has them counted apart from whoever else is behind the gateway.
        await credential(request, reply);
      }
    },
  };
}

/**
 * What lets a request past the count of its address. It is forgotten when the guard refuses it once, when an answer brings another cookie
 * (a sign-out, a new token), and half an hour after the guard accepted it last.
 */
function rememberCredentials(app: FastifyInstance, accepted: (request: FastifyRequest) => boolean) {
  const known = new Map<string, number>();
  app.addHook('onResponse', async (request, reply) => {
    const refused = [401, 403].includes(reply.statusCode) && !accepted(request);
    if (!refused && !reply.hasHeader('set-cookie')) return;
    const shown = hashOfShown(request);
    if (shown !== undefined) known.delete(shown);
  });
  return {
    /** The hash of what the request comes with; undefined when it is not known, or not any more. */
    find: (request: FastifyRequest): string | undefined => {
      const shown = hashOfShown(request);
      const since = shown === undefined ? undefined : known.get(shown);
      return since !== undefined && performance.now() - since < KNOWN_MS ? shown : undefined;
    },
    add: (request: FastifyRequest): void => {
      const shown = hashOfShown(request);
      if (shown === undefined) return;
      known.delete(shown);
      known.set(shown, performance.now());
      const [oldest] = known.keys();
      if (known.size > MOST_KNOWN && oldest !== undefined) known.delete(oldest);
    },
  };
}

/** Never the credential itself: it would lie in memory longer than the request. */
function hashOfShown({ headers }: FastifyRequest): string | undefined {
  const shown = headers.authorization ?? headers.cookie;
  return shown === undefined ? undefined : createHash('sha256').update(shown).digest('base64');
}
