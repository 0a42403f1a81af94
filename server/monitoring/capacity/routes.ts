import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { setQuota } from '../../backups/index.ts';
import { Id } from '../../lib/shapes.ts';
import { showCapacity, type CapacityDeps } from './measure.ts';
import { CapacityReply, QuotaChange } from './schema.ts';

const tags = ['capacity'];

export const capacityRoutes =
  (deps: CapacityDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/capacity',
      {
        config: { access: { right: 'operations.read' }, background: true },
        schema: {
          ...{ tags, summary: 'Room on the data disk and on each target, over time' },
          response: { 200: CapacityReply },
        },
      },
      () => showCapacity(deps),
    );
    app.put(
      '/targets/:id/quota',
      {
        config: { access: { right: 'backups.manage' } },
        schema: {
          ...{ tags, summary: 'Say how much room a target has for this appliance' },
          ...{ params: Type.Object({ id: Id }), body: QuotaChange, response: { 200: CapacityReply } },
        },
      },
      async ({ actor, params, body }) => {
        await setQuota(deps, actor, params.id, body.quotaBytes);
        return showCapacity(deps);
      },
    );
  };
