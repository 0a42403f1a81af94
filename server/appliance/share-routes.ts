/** Shares as administrators see them. Without hostd each of these routes answers `wrong_state`. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Actor } from '../audit/index.ts';
import { Id, NoContent } from '../lib/shapes.ts';
import { connectHost, requireHost } from './host/client.ts';
import { AddShareRequest, ShareList, ShareStatus } from './host/shares/schema.ts';
import { enterHostActs, type HostActDeps } from './host-acts.ts';
import { hostActor } from './host-machine.ts';

const tags = ['shares'];
/** A server that does not answer is waited for half a minute. */
const MOUNT_TIMEOUT_MS = 120_000;

export const hostShareRoutes =
  (deps: HostActDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    const send = async <T>(
      method: 'POST' | 'DELETE',
      path: string,
      body: object,
      actor: Actor,
    ): Promise<T> => {
      const host = requireHost(connectHost(deps.config));
      const answer = await host.send<T>(method, path, { ...body, actor: hostActor(actor) }, MOUNT_TIMEOUT_MS);
      await enterHostActs(deps);
      return answer;
    };

    app.get(
      '/host/shares',
      {
        config: { access: { right: 'operations.read' } },
        schema: { tags, summary: 'Shares and second disks for backups', response: { 200: ShareList } },
      },
      () => requireHost(connectHost(deps.config)).get<{ items: ShareStatus[] }>('/shares'),
    );

    app.post(
      '/host/shares',
      {
        config: { access: { right: 'machine.manage' } },
        schema: {
          tags,
          summary: 'Mount a share or a second disk for backups',
          body: Type.Omit(AddShareRequest, ['actor'], { additionalProperties: false }),
          response: { 201: ShareStatus },
        },
      },
      async (request, reply) =>
        reply.status(201).send(await send<ShareStatus>('POST', '/shares', request.body, request.actor)),
    );

    app.delete(
      '/host/shares/:id',
      {
        config: { access: { right: 'machine.manage' } },
        schema: {
          tags,
          summary: 'Unmount a share for good; what is in it stays',
          params: Type.Object({ id: Id }),
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await send('DELETE', `/shares/${request.params.id}`, {}, request.actor);
        return reply.status(204).send(null);
      },
    );
  };
