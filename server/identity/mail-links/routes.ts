import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { Id, NoContent } from '../../lib/shapes.ts';
import { SecondStep } from '../factors/schema.ts';
import type { PersonLifeDeps } from '../people/person-life.ts';
import { Session } from '../schema.ts';
import {
  expiredLinkCookie,
  linkCookie,
  newSessionToken,
  pendingCookie,
  readLinkToken,
} from '../sessions/session-cookie.ts';
import { enterSession } from '../sign-in/second-step-routes.ts';
import { describeSession, type SignInDeps } from '../sign-in/sign-in.ts';
import { askEmailChange, cancelEmailChange, confirmEmailChange, readEmailChange } from './email-change.ts';
import { ownOrigin, trustedOrigin } from './link-origin.ts';
import { signInByLink } from './magic-link.ts';
import { answerAsks, askForLink, LINK_MINUTES, type LinkDeps } from './mail-links.ts';
import { lookAtReset, offerReset, resetPassword } from './password-reset.ts';
import {
  Asked,
  EmailChangeRequest,
  LinkAsk,
  PendingEmailChange,
  ResetLook,
  ResetRequest,
  SentReset,
  TokenOnly,
} from './schema.ts';

const tags = ['identity'];
const open = { access: 'public' } as const;
const own = { access: { right: 'account.own' } } as const;
const Nullable = Type.Union([PendingEmailChange, Type.Null()]);

type Deps = LinkDeps & PersonLifeDeps & SignInDeps & { origins: readonly string[] };

type Answer = (request: FastifyRequest) => void;

export const mailLinkRoutes =
  (deps: Deps): FastifyPluginAsyncTypebox =>
  async (app) => {
    const answerSoon = answerOneByOne(deps);
    await app.register(resetRoutes(deps, answerSoon));
    await app.register(magicLinkRoutes(deps, answerSoon));
    await app.register(emailChangeRoutes(deps));
  };

const resetRoutes =
  (deps: Deps, answerSoon: Answer): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.post(
      '/sign-in/reset-requests',
      {
        config: open,
        schema: {
          ...{ tags, summary: 'Ask for a link to set a new password: the same answer for every address' },
          ...{ body: LinkAsk, response: { 202: Asked } },
        },
      },
      async (request, reply) => {
        const origin = trustedOrigin(request, deps.origins);
        const userAgent = request.headers['user-agent'];
        const ask = { kind: 'password-reset' as const, email: request.body.email, origin, userAgent };
        await askForLink(deps, ask, request.actor);
        answerSoon(request);
        return reply.status(202).send({ validMinutes: LINK_MINUTES['password-reset'] });
      },
    );
    app.post(
      '/sign-in/reset/look',
      {
        config: open,
        schema: {
          ...{ tags, summary: 'What a link to set a password is for; uses nothing up' },
          ...{ body: TokenOnly, response: { 200: ResetLook } },
        },
      },
      ({ body }) => lookAtReset(deps, body.token),
    );
    app.post(
      '/sign-in/reset',
      {
        config: open,
        schema: {
          ...{ tags, summary: 'Set a new password by a link; every session ends, and none begins' },
          ...{ body: ResetRequest, response: { 204: NoContent } },
        },
      },
      async ({ body, actor }, reply) => {
        await resetPassword(deps, body, actor);
        return reply.status(204).send(null);
      },
    );
    app.post(
      '/people/:id/reset-link',
      {
        config: { access: { right: 'people.manage' }, stepUp: true },
        schema: {
          ...{ tags: ['people'], summary: 'Send somebody a link to set a new password' },
          ...{ params: Type.Object({ id: Id }), response: { 201: SentReset } },
        },
      },
      async (request, reply) => {
        const sent = await offerReset(deps, request.params.id, ownOrigin(request), request.actor);
        return reply.status(201).header('cache-control', 'no-store').send(sent);
      },
    );
  };

const magicLinkRoutes =
  (deps: Deps, answerSoon: Answer): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.post(
      '/sign-in/magic-links',
      {
        config: open,
        schema: {
          ...{
            tags,
            summary: 'Ask for a link to sign in, bound to this browser: the same answer for every address',
          },
          ...{ body: LinkAsk, response: { 202: Asked } },
        },
      },
      async (request, reply) => {
        const origin = trustedOrigin(request, deps.origins);
        // Asked twice, both links count.
        const browserToken = readLinkToken(request.headers.cookie) ?? newSessionToken();
        const userAgent = request.headers['user-agent'];
        const { email } = request.body;
        const ask = { kind: 'magic-link' as const, email, origin, userAgent, browserToken };
        await askForLink(deps, ask, request.actor);
        answerSoon(request);
        const validMinutes = LINK_MINUTES['magic-link'];
        reply
          .header('set-cookie', linkCookie(browserToken, validMinutes * 60))
          .header('cache-control', 'no-store');
        return reply.status(202).send({ validMinutes });
      },
    );
    app.post(
      '/sign-in/magic-link',
      {
        config: open,
        schema: {
          ...{ tags, summary: 'Sign in by a link, in the browser that asked for it' },
          ...{ body: TokenOnly, response: { 201: Session, 202: SecondStep } },
        },
      },
      async (request, reply) => {
        const signedIn = await signInByLink(
          deps,
          {
            token: request.body.token,
            browserToken: readLinkToken(request.headers.cookie),
            userAgent: request.headers['user-agent'],
          },
          request.actor,
        );
        const { session, pending } = signedIn;
        if (pending !== undefined) {
          reply
            .header('set-cookie', [pendingCookie(pending.token), expiredLinkCookie()])
            .header('cache-control', 'no-store');
          return reply.status(202).send(pending.step);
        }
        enterSession(reply, session.token, [expiredLinkCookie()]);
        return reply.status(201).send(await describeSession(deps, session));
      },
    );
  };

const emailChangeRoutes =
  (deps: Deps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/me/email-change',
      {
        config: own,
        schema: {
          ...{ tags, summary: 'The address of yours that waits to be confirmed' },
          response: { 200: Type.Object({ pending: Nullable }) },
        },
      },
      async ({ person }) => ({ pending: await readEmailChange(deps, person.userId) }),
    );
    app.post(
      '/me/email-change',
      {
        config: { ...own, stepUp: true },
        schema: {
          ...{ tags, summary: 'Ask for another address: a link is sent there' },
          ...{ body: EmailChangeRequest, response: { 201: PendingEmailChange } },
        },
      },
      async (request, reply) => {
        const { person, actor, body } = request;
        const self = { person, actor, userAgent: request.headers['user-agent'] };
        const change = { email: body.email, origin: ownOrigin(request) };
        return reply.status(201).send(await askEmailChange(deps, self, change));
      },
    );
    app.delete(
      '/me/email-change',
      {
        config: own,
        schema: { tags, summary: 'Keep the address that you have', response: { 204: NoContent } },
      },
      async ({ person, actor }, reply) => {
        await cancelEmailChange(deps, person.userId, actor);
        return reply.status(204).send(null);
      },
    );
    app.post(
      '/sign-in/email-confirmation',
      {
        config: open,
        schema: {
          ...{ tags, summary: 'Confirm an address by the link that was sent to it' },
          ...{ body: TokenOnly, response: { 200: Type.Object({ email: Type.String() }) } },
        },
      },
      ({ body, actor }) => confirmEmailChange(deps, body.token, actor),
    );
  };

/**
 * Answers when the reply has left: how long it took must not say whether somebody has that address. One at a time in this process, so that
 * a flood of asking takes one connection of the database and no more. The chore does what this one missed.
 */
function answerOneByOne(deps: Deps): Answer {
  const state = { busy: false, asked: 0 };
  const work = async (): Promise<void> => {
    try {
      for (let seen = -1; seen !== state.asked;) {
        seen = state.asked;
        await answerAsks(deps);
      }
    } finally {
      state.busy = false;
    }
  };
  return ({ log }) => {
    state.asked += 1;
    if (state.busy) return;
    state.busy = true;
    setImmediate(() => {
      work().catch((error: unknown) => {
        log.error({ err: error }, 'Links that were asked for were not sent; they are tried again');
      });
    });
  };
}
