/** How the server takes acts outside the application into its audit log. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id } from '../../lib/shapes.ts';
import type { HostDeps } from './host-app.ts';
import { HostAct } from './schema.ts';

/** So many at once, for a reply of a bounded size. */
const PAGE = 200;

export const journalRoutes =
  (deps: Pick<HostDeps, 'journal'>): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/journal',
      { schema: { response: { 200: Type.Object({ items: Type.Array(HostAct) }) } } },
      async () => ({ items: await deps.journal.list(PAGE) }),
    );
    app.post(
      '/journal/entered',
      { schema: { body: Type.Object({ ids: Type.Array(Id, { maxItems: PAGE }) }) } },
      async (request, reply) => {
        await deps.journal.remove(request.body.ids);
        return reply.status(204).send(null);
      },
    );
  };
