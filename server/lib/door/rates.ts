/** How often one address and one person may ask. Wide enough for a folder of small files, narrow enough that one cannot starve all. */
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { HoldfastError } from '../errors.ts';
import { clientAddress, networkOf } from './client-address.ts';

/** Each in a minute. */
export const RATES = {
  /** From one address; a browser that uploads many small files needs a few thousand. */
  address: 12_000,
  /** Of one signed-in person, from wherever. */
  person: 9_000,
  /** Changes by somebody who is not signed in, from one address: signing in, claiming. Many people may share one. */
  unknown: 300,
};

interface Rates {
  /** Counts a request before anything is asked about it. */
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
  const person = counter(rates.person, 'you', (request) => callers.get(request) ?? '');
  const unknown = counter(rates.unknown, 'this address', addressOf);
  return {
    address: counter(rates.address, 'this address', addressOf),
    caller: async (request, reply, caller) => {
      if (caller !== undefined) {
        callers.set(request, caller);
        await person(request, reply);
      } else if (!['GET', 'HEAD', 'OPTIONS'].includes(request.method)) {
        await unknown(request, reply);
      }
    },
  };
}
