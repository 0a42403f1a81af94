import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id, NoContent } from '../../../lib/shapes.ts';
import { ActorRequest } from '../schema.ts';
import { AddShareRequest, ShareList, ShareStatus } from './schema.ts';
import type { Shares } from './shares.ts';

/** The verbs of shares on hostd's socket; what they refuse is in `shares.ts`. */
export const shareRoutes =
  (shares: Shares): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get('/shares', { schema: { response: { 200: ShareList } } }, async () => ({
      items: await shares.list(),
    }));
    app.post(
      '/shares',
      { schema: { body: AddShareRequest, response: { 201: ShareStatus } } },
      async (request, reply) => reply.status(201).send(await shares.add(request.body)),
    );
    app.post('/shares/mount', { schema: { response: { 200: ShareList } } }, async () => {
      await shares.mountAll();
      return { items: await shares.list() };
    });
    app.delete(
      '/shares/:id',
      { schema: { params: Type.Object({ id: Id }), body: ActorRequest, response: { 204: NoContent } } },
      async (request, reply) => {
        await shares.remove(request.params.id, request.body.actor);
        return reply.status(204).send(null);
      },
    );
  };
