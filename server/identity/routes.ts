import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { invitationRoutes } from './invitations/routes.ts';
import type { PersonLifeDeps } from './people/person-life.ts';
import { peopleRoutes } from './people/routes.ts';
import { teamRoutes } from './teams/routes.ts';
import { RightsTable, rightsTable } from './rights.ts';
import { Session, SignInRequest } from './schema.ts';
import { expiredSessionCookie, sessionCookie } from './sessions/session-cookie.ts';
import { sessionRoutes } from './sessions/routes.ts';
import { signOut } from './sessions/sessions.ts';
import { describeSession, signIn, type SignInDeps } from './sign-in/sign-in.ts';

export const identityRoutes =
  (deps: SignInDeps & PersonLifeDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    await app.register(sessionRoutes(deps));
    await app.register(peopleRoutes(deps));
    await app.register(invitationRoutes(deps));
    await app.register(teamRoutes(deps));

    app.get(
      '/session',
      {
        config: { access: { right: 'account.own' }, background: true },
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
          response: { 201: Session },
        },
      },
      async (request, reply) => {
        const userAgent = request.headers['user-agent'];
        const opened = await signIn(deps, { ...request.body, userAgent }, request.actor);
        reply
          .status(201)
          .header('set-cookie', sessionCookie(opened.token))
          .header('cache-control', 'no-store');
        return describeSession(deps, { userId: opened.userId, sessionId: opened.sessionId });
      },
    );

    app.delete(
      '/session',
      {
        config: { access: { right: 'account.own' } },
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
