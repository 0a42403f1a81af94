/** The steps of a sign-in after the password, and the passkey in its place. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { relyingPartyOf } from '../factors/relying-party.ts';
import { FactorProof, PasskeyAssertion, PasskeyOptions } from '../factors/schema.ts';
import { Session } from '../schema.ts';
import {
  expiredPendingCookie,
  pendingCookie,
  readPendingToken,
  sessionCookie,
} from '../sessions/session-cookie.ts';
import type { OpenedSession } from '../sessions/sessions.ts';
import {
  askFirstPasskey,
  askSecondPasskey,
  finishWithFactor,
  finishWithPasskey,
  type From,
} from './pending-sign-in.ts';
import { describeSession, type SignInDeps } from './sign-in.ts';

const tags = ['identity'];

export const secondStepRoutes =
  (deps: SignInDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    const enter = async (reply: FastifyReply, opened: OpenedSession) => {
      enterSession(reply.status(201), opened.token);
      return describeSession(deps, opened);
    };

    app.post(
      '/session/passkey-options',
      {
        config: { access: 'public' },
        schema: {
          tags,
          summary: 'What the browser asks a passkey: as the first step of a sign-in, or as its second',
          body: Type.Object({ step: Type.Union([Type.Literal('first'), Type.Literal('second')]) }),
          response: { 200: PasskeyOptions },
        },
      },
      async (request, reply) => {
        reply.header('cache-control', 'no-store');
        if (request.body.step === 'second') return { options: await askSecondPasskey(deps, from(request)) };
        const { token, options } = await askFirstPasskey(deps, relyingPartyOf(request));
        reply.header('set-cookie', pendingCookie(token));
        return { options };
      },
    );

    app.post(
      '/session/passkey',
      {
        config: { access: 'public' },
        schema: {
          tags,
          summary: 'Sign in with a passkey alone',
          body: Type.Object({ response: PasskeyAssertion }),
          response: { 201: Session },
        },
      },
      async (request, reply) =>
        enter(reply, await finishWithPasskey(deps, request.body.response, from(request))),
    );

    app.post(
      '/session/second-factor',
      {
        config: { access: 'public' },
        schema: {
          tags,
          summary: 'The second step of a sign-in',
          body: FactorProof,
          response: { 201: Session },
        },
      },
      async (request, reply) => enter(reply, await finishWithFactor(deps, request.body, from(request))),
    );
  };

/** A session begins: its cookie takes the place of the one that led here. */
export function enterSession(reply: FastifyReply, token: string, more: string[] = []): void {
  reply
    .header('set-cookie', [sessionCookie(token), expiredPendingCookie(), ...more])
    .header('cache-control', 'no-store');
}

function from(request: FastifyRequest): From {
  return {
    actor: request.actor,
    userAgent: request.headers['user-agent'],
    party: relyingPartyOf(request),
    token: readPendingToken(request.headers.cookie),
  };
}
