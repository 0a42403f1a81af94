/** Coming in by the provider, one's own link with it, and what the provider says to us. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { HoldfastError } from '../../lib/errors.ts';
import { NoContent } from '../../lib/shapes.ts';
import { SecondStep } from '../factors/schema.ts';
import { findUsable } from '../invitations/invitations.ts';
import { relyingPartyOf } from '../factors/relying-party.ts';
import { Session } from '../schema.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import {
  expiredProviderCookie,
  pendingCookie,
  providerCookie,
  readProviderToken,
  readSessionToken,
} from '../sessions/session-cookie.ts';
import { renewAfterProof } from '../sessions/sessions.ts';
import { enterSession } from '../sign-in/second-step-routes.ts';
import { describeSession, type SignInDeps } from '../sign-in/sign-in.ts';
import { beginAttempt, type BegunAttempt, type Returned } from './attempts.ts';
import { takeLogout } from './back-channel-logout.ts';
import { enterBySingleSignOn } from './enter.ts';
import { describeOwnLink, unlinkSelf } from './links.ts';
import { beginLink, beginProof, finishOwn } from './own-return.ts';
import { BeginRequest, OwnLink, ProviderAddress, ReturnReply, ReturnRequest } from './schema.ts';

const tags = ['single sign-on'];
const access = { right: 'account.own' } as const;
/** A person without the factor they must have adds one here, which asks for a fresh proof. A link is not begun so. */
const OPEN = { access, beforeSecondFactor: true };
const LOGOUT_BODY_BYTES = 16_384;

export const singleSignOnRoutes =
  (deps: SignInDeps & PersonLifeDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.post(
      '/session/single-sign-on',
      {
        config: { access: 'public' },
        schema: {
          ...{ tags, summary: 'Begin to sign in at the provider, also to accept an invitation' },
          ...{ body: BeginRequest, response: { 201: ProviderAddress } },
        },
      },
      async (request, reply) => {
        const { invitation } = request.body;
        const purpose =
          invitation === undefined
            ? { kind: 'sign-in' as const }
            : {
                kind: 'invitation' as const,
                invitationHash: (await findUsable(deps, invitation)).token_hash,
              };
        return begun(reply, await beginAttempt(deps, purpose, relyingPartyOf(request).origin));
      },
    );

    app.post(
      '/session/single-sign-on/return',
      {
        config: { access: 'public' },
        schema: {
          ...{ tags, summary: 'Finish signing in with what the provider gave the browser' },
          ...{ body: ReturnRequest, response: { 201: Session, 202: SecondStep } },
        },
      },
      async (request, reply) => {
        const { session, pending } = await enterBySingleSignOn(deps, returned(request, request.body));
        if (pending !== undefined) {
          const cookies = [pendingCookie(pending.token), expiredProviderCookie()];
          reply.header('set-cookie', cookies).header('cache-control', 'no-store');
          return reply.status(202).send(pending.step);
        }
        enterSession(reply, session.token);
        reply.header('set-cookie', expiredProviderCookie());
        return reply.status(201).send(await describeSession(deps, session));
      },
    );

    app.get(
      '/me/single-sign-on',
      {
        config: OPEN,
        schema: { tags, summary: 'Your own link with the provider', response: { 200: OwnLink } },
      },
      (request) => describeOwnLink(deps, request.person),
    );

    for (const [path, begin, summary, config] of [
      ['link', beginLink, 'Begin to link your account with the provider', { access, stepUp: true }],
      ['proof', beginProof, 'Begin to prove at the provider who you are', OPEN],
    ] as const) {
      app.post(
        `/me/single-sign-on/${path}`,
        { config, schema: { tags, summary, response: { 201: ProviderAddress } } },
        async (request, reply) =>
          begun(reply, await begin(deps, request.person, relyingPartyOf(request).origin)),
      );
    }

    app.post(
      '/me/single-sign-on/return',
      {
        config: OPEN,
        schema: {
          ...{ tags, summary: 'Finish linking, or proving, with what the provider gave the browser' },
          ...{ body: ReturnRequest, response: { 200: ReturnReply } },
        },
      },
      async (request, reply) => {
        const done = await finishOwn(deps, request.person, returned(request, request.body));
        if (done === 'proven')
          request.sessionRenewal ??= await renewAfterProof(deps, readSessionToken(request.headers.cookie));
        reply.header('cache-control', 'no-store');
        return { done };
      },
    );

    app.delete(
      '/me/single-sign-on',
      {
        config: { access, stepUp: true },
        schema: { tags, summary: 'Take your own link away', response: { 204: NoContent } },
      },
      async (request, reply) => {
        const userAgent = request.headers['user-agent'];
        await unlinkSelf(deps, request.person, { actor: request.actor, userAgent });
        return reply.status(204).send(null);
      },
    );

    await app.register(logoutRoute(deps));
  };

/** Called by the provider: its body is a form, and carries its own proof. */
const logoutRoute =
  (deps: PersonLifeDeps): FastifyPluginAsyncTypebox =>
  async (scope) => {
    scope.addContentTypeParser(
      'application/x-www-form-urlencoded',
      { parseAs: 'string', bodyLimit: LOGOUT_BODY_BYTES },
      (_request, body, done) => {
        done(null, Object.fromEntries(new URLSearchParams(body.toString())));
      },
    );
    scope.post(
      '/single-sign-on/back-channel-logout',
      {
        config: { access: 'public', ownProof: true },
        bodyLimit: LOGOUT_BODY_BYTES,
        schema: {
          ...{ tags, summary: 'The provider says that somebody signed out there, or left' },
          consumes: ['application/x-www-form-urlencoded'],
          body: Type.Object({ logout_token: Type.String({ minLength: 1, maxLength: LOGOUT_BODY_BYTES }) }),
          response: {
            200: Type.Null(),
            400: Type.Object({ error: Type.String(), error_description: Type.String() }),
          },
        },
      },
      async (request, reply) => {
        reply.header('cache-control', 'no-store');
        try {
          await takeLogout(deps, request.body.logout_token, request.actor);
        } catch (error) {
          if (!(error instanceof HoldfastError) || error.code !== 'invalid_input') throw error;
          // The answer has a form of its own (section 2.8), so the log is written here.
          request.log.info({ code: error.code, detail: error.detail }, error.message);
          return reply.status(400).send({ error: 'invalid_request', error_description: error.message });
        }
        return reply.status(200).send(null);
      },
    );
  };

function begun(reply: FastifyReply, { token, url }: BegunAttempt): { url: string } {
  reply.status(201).header('set-cookie', providerCookie(token)).header('cache-control', 'no-store');
  return { url };
}

function returned(request: FastifyRequest, body: ReturnRequest): Returned {
  return {
    token: readProviderToken(request.headers.cookie),
    ...{ state: body.state, code: body.code, iss: body.iss, error: body.error },
    ...{ actor: request.actor, userAgent: request.headers['user-agent'] },
  };
}
