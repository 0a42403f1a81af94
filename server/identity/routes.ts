import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Logger } from '../lib/log.ts';
import { invitationRoutes } from './invitations/routes.ts';
import type { PersonLifeDeps } from './people/person-life.ts';
import { mailLinkRoutes } from './mail-links/routes.ts';
import type { LinkDeps } from './mail-links/mail-links.ts';
import { passwordRoutes } from './passwords/routes.ts';
import { peopleRoutes } from './people/routes.ts';
import type { TeamDeps } from './teams/teams.ts';
import { teamRoutes } from './teams/routes.ts';
import { factorRoutes } from './factors/routes.ts';
import { SecondStep } from './factors/schema.ts';
import { RightsTable, rightsTable } from './rights.ts';
import { Session, SignInRequest } from './schema.ts';
import { expiredSessionCookie, pendingCookie } from './sessions/session-cookie.ts';
import { sessionRoutes } from './sessions/routes.ts';
import { signOut } from './sessions/sessions.ts';
import { enterSession, secondStepRoutes } from './sign-in/second-step-routes.ts';
import { describeSession, signIn, type SignInDeps } from './sign-in/sign-in.ts';
import { waysRoutes } from './sign-in/ways.ts';
import { singleSignOnRoutes } from './single-sign-on/routes.ts';
import { singleSignOnSettingsRoutes } from './single-sign-on/settings-routes.ts';

export const identityRoutes =
  (
    deps: SignInDeps &
      PersonLifeDeps &
      LinkDeps &
      TeamDeps & { origins: readonly string[]; log: Pick<Logger, 'warn'> },
  ): FastifyPluginAsyncTypebox =>
  async (app) => {
    await app.register(sessionRoutes(deps));
    await app.register(peopleRoutes(deps));
    await app.register(invitationRoutes(deps));
    await app.register(teamRoutes(deps));
    await app.register(waysRoutes(deps));
    await app.register(singleSignOnRoutes(deps));
    await app.register(singleSignOnSettingsRoutes(deps));
    await app.register(secondStepRoutes(deps));
    await app.register(factorRoutes(deps));
    await app.register(passwordRoutes(deps));
    await app.register(mailLinkRoutes(deps));

    app.get(
      '/session',
      {
        config: { access: { right: 'account.own' }, background: true, beforeSecondFactor: true },
        schema: { tags: ['identity'], summary: 'Who is signed in', response: { 200: Session } },
      },
      (request) => describeSession(deps, request.person),
    );

    app.get(
      '/rights',
      {
        config: { access: { right: 'account.own' } },
        schema: { tags: ['identity'], summary: 'What each role may do', response: { 200: RightsTable } },
      },
      () => rightsTable(),
    );

    app.post(
      '/session',
      {
        config: { access: 'public' },
        schema: {
          tags: ['identity'],
          summary: 'Sign in',
          body: SignInRequest,
          response: { 201: Session, 202: SecondStep },
        },
      },
      async (request, reply) => {
        const userAgent = request.headers['user-agent'];
        const { session, pending } = await signIn(deps, { ...request.body, userAgent }, request.actor);
        if (pending !== undefined) {
          reply.header('set-cookie', pendingCookie(pending.token)).header('cache-control', 'no-store');
          return reply.status(202).send(pending.step);
        }
        enterSession(reply, session.token);
        return reply.status(201).send(await describeSession(deps, session));
      },
    );

    app.delete(
      '/session',
      {
        config: { access: { right: 'account.own' }, beforeSecondFactor: true },
        schema: { tags: ['identity'], summary: 'Sign out', response: { 204: Type.Null() } },
      },
      async (request, reply) => {
        await signOut(deps, request.person, request.actor);
        // W3C Clear Site Data: what the browser kept of the signed-in pages goes too.
        reply
          .header('set-cookie', expiredSessionCookie())
          .header('clear-site-data', '"cache", "cookies", "storage"');
        return reply.status(204).send(null);
      },
    );
  };
