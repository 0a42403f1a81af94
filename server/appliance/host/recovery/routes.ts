import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { NoContent } from '../../../lib/shapes.ts';
import type { BrowserRecovery } from './browser-recovery.ts';
import { LookAnswer, LookRequest, StartRecoveryRequest } from './schema.ts';

/** The verbs of a recovery from a browser, on hostd's socket; what they refuse is in `browser-recovery.ts`. */
export const browserRecoveryRoutes =
  (recovery: BrowserRecovery): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.post('/recovery/look', { schema: { body: LookRequest, response: { 200: LookAnswer } } }, ({ body }) =>
      recovery.look(body),
    );
    app.post(
      '/recovery/start',
      { schema: { body: StartRecoveryRequest, response: { 202: NoContent } } },
      async ({ body }, reply) => {
        await recovery.start(body);
        return reply.status(202).send(null);
      },
    );
  };
