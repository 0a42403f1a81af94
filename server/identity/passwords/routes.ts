import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { NoContent } from '../../lib/shapes.ts';
import type { PasswordDeps } from '../people/people.ts';
import { sessionCookie } from '../sessions/session-cookie.ts';
import { changeOwnPassword } from './own-password.ts';
import { PasswordChange } from './schema.ts';

export const passwordRoutes =
  (deps: PasswordDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.post(
      '/me/password',
      {
        // A fresh proof is asked of whoever has a second factor, the present password of the others: changeOwnPassword does both.
        config: { access: { right: 'account.own' } },
        schema: {
          tags: ['identity'],
          summary: 'Change your password; your other sessions end, and this one gets a new token',
          body: PasswordChange,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        const { person, actor } = request;
        const self = { person, actor, userAgent: request.headers['user-agent'] };
        const { token } = await changeOwnPassword(deps, self, request.body);
        reply.header('set-cookie', sessionCookie(token)).header('cache-control', 'no-store');
        return reply.status(204).send(null);
      },
    );
  };
