/** SSH to the machine, for a limited time. Without hostd each of these routes answers `wrong_state`. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { connectHost, requireHost } from './host/client.ts';
import { OpenedSsh, OpenSshRequest, SshState } from './host/ssh/schema.ts';
import { perform, type HostMachineDeps } from './host-machine.ts';

const tags = ['machine'];
/** Keys are made, an account too, and sshd started. */
const OPEN_TIMEOUT_MS = 3 * 60_000;

export const hostSshRoutes =
  (deps: HostMachineDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/host/ssh',
      {
        config: { access: { right: 'operations.read' } },
        schema: { tags, summary: 'Whether SSH is open, and until when', response: { 200: SshState } },
      },
      () => requireHost(connectHost(deps.config)).get<SshState>('/ssh'),
    );
    app.post(
      '/host/ssh',
      {
        config: { access: { right: 'machine.own' }, stepUp: true },
        schema: {
          tags,
          summary: 'Open SSH for a limited time; the one-time passphrase is said this once',
          body: Type.Omit(OpenSshRequest, ['actor'], { additionalProperties: false }),
          response: { 201: OpenedSsh },
        },
      },
      async (request, reply) => {
        const { body, actor } = request;
        const opened = await perform<OpenedSsh>(deps, 'POST', '/ssh', body, actor, OPEN_TIMEOUT_MS);
        return reply.status(201).send(opened);
      },
    );
    app.delete(
      '/host/ssh',
      {
        config: { access: { right: 'machine.own' } },
        schema: { tags, summary: 'Close SSH, with every session', response: { 200: SshState } },
      },
      (request) => perform<SshState>(deps, 'DELETE', '/ssh', {}, request.actor, OPEN_TIMEOUT_MS),
    );
  };
