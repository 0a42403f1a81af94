/** Point in time over the API. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { changePointInTime, type ChangePointInTimeDeps } from './change-point-in-time.ts';
import { PointInTimeChange, PointInTimeStatus } from './schema.ts';
import { showPointInTime } from './show-point-in-time.ts';

export type PointInTimeRouteDeps = ChangePointInTimeDeps;

export function pointInTimeRoutes(deps: PointInTimeRouteDeps): FastifyPluginAsyncTypebox {
  const tags = ['Point in time'];
  return async (app) => {
    app.get(
      '/point-in-time',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          ...{ tags, summary: 'How far the write-ahead log is shipped, and which moments can be restored' },
          response: { 200: PointInTimeStatus },
        },
      },
      () => showPointInTime(deps),
    );
    app.put(
      '/point-in-time',
      {
        config: { access: { right: 'backups.manage' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Switch shipping of the write-ahead log on or off, and set its limits' },
          body: PointInTimeChange,
          response: { 200: PointInTimeStatus },
        },
      },
      ({ body, actor }) => changePointInTime(deps, actor, body),
    );
  };
}
