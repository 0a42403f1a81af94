import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { showSnapshot } from '../list-snapshots.ts';
import { WithReason } from '../retention/schema.ts';
import { Snapshot } from '../schema.ts';
import { acceptSnapshot, changeSnapshotLimits, readSnapshotLimits } from './judge-snapshots.ts';
import { SnapshotLimits } from './schema.ts';

type UnusualDeps = Parameters<typeof acceptSnapshot>[0] & Parameters<typeof showSnapshot>[0];

export function unusualRoutes(deps: UnusualDeps): FastifyPluginAsyncTypebox {
  const tags = ['snapshots'];
  return async (app) => {
    app.post(
      '/snapshots/:id/accept',
      {
        config: { access: { right: 'backups.manage' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Say that a snapshot of an unusual size is as it should be' },
          ...{ params: Type.Object({ id: Type.String({ pattern: '^[0-9a-f]{64}$' }) }), body: WithReason },
          response: { 200: Snapshot },
        },
      },
      async ({ actor, params, body }) => {
        await acceptSnapshot(deps, actor, params.id, body.reason.trim());
        return showSnapshot(deps, params.id);
      },
    );
    app.get(
      '/settings/snapshot-limits',
      {
        config: { access: { right: 'settings.read' } },
        schema: {
          tags,
          summary: 'From which change on a snapshot is unusual',
          response: { 200: SnapshotLimits },
        },
      },
      () => readSnapshotLimits(deps.db),
    );
    app.put(
      '/settings/snapshot-limits',
      {
        // Whoever widens them lets a loss pass unseen.
        config: { access: { right: 'settings.change' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Change from which change on a snapshot is unusual' },
          ...{ body: SnapshotLimits, response: { 200: SnapshotLimits } },
        },
      },
      ({ actor, body }) => changeSnapshotLimits(deps, actor, body),
    );
  };
}
