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
  const unknown = counter(rates.unknown, 'this address', addressOf);
  return {
    address: async (request, reply) => {
      if (known.callerOf(request) === undefined) await address(request, reply);
    },
    caller: async (request, reply, caller) => {
      if (caller !== undefined) known.add(request, caller);
      // A page and its parts are open to all: whoever is signed in has them counted as their own all the same.
      const who = caller ?? known.callerOf(request);
      if (who !== undefined) {
        callers.set(request, who);
        await person(request, reply);
      } else if (!['GET', 'HEAD', 'OPTIONS'].includes(request.method)) {
        await unknown(request, reply);
      }
    },
  };
}

/**
 * What lets a request past the count of its address, and whose it is. One refusal by the guard, and it is forgotten: an ended session or
 * a made-up token gets past once at most.
 */
function rememberCredentials(app: FastifyInstance, accepted: (request: FastifyRequest) => boolean) {
  const known = new Map<string, string>();
  app.addHook('onResponse', async (request, reply) => {
    if (![401, 403].includes(reply.statusCode) || accepted(request)) return;
    const shown = hashOfShown(request);
    if (shown !== undefined) known.delete(shown);
  });
  return {
    callerOf: (request: FastifyRequest): string | undefined => {
      const shown = hashOfShown(request);
      return shown === undefined ? undefined : known.get(shown);
    },
    add: (request: FastifyRequest, caller: string): void => {
      const shown = hashOfShown(request);
      if (shown === undefined) return;
      known.delete(shown);
      known.set(shown, caller);
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
