/** Restart and shut down. The machine goes down a moment after the reply, so that whoever asked hears it. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { HostDeps } from './host-app.ts';
import { askPower, type PowerSwitch } from './power.ts';
import { PowerRequest } from './schema.ts';

export const powerRoutes =
  (deps: Pick<HostDeps, 'journal' | 'log'> & { power: PowerSwitch }): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.post('/power', { schema: { body: PowerRequest } }, async (request, reply) => {
      await askPower(deps, request.body);
      return reply.status(202).send({});
    });
  };
