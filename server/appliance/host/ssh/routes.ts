/** hostd's verbs for SSH. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { ActorRequest } from '../schema.ts';
import type { SshDesk } from './desk.ts';
import { OpenedSsh, OpenSshRequest, SshState } from './schema.ts';

export const sshRoutes =
  (desk: SshDesk): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.addHook('onClose', async () => desk.stop());
    app.get('/ssh', { schema: { response: { 200: SshState } } }, () => desk.state());
    app.post(
      '/ssh',
      { schema: { body: OpenSshRequest, response: { 201: OpenedSsh } } },
      async ({ body }, reply) => reply.status(201).send(await desk.open(body)),
    );
    app.delete('/ssh', { schema: { body: ActorRequest, response: { 200: SshState } } }, ({ body }) =>
      desk.close(body.actor),
    );
  };
