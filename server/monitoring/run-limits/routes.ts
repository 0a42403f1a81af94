import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { RunLimits } from './schema.ts';
import { changeRunLimits, readRunLimits, type RunWatchDeps } from './watch-runs.ts';

const tags = ['runs'];

export const runLimitRoutes =
  (deps: RunWatchDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/settings/run-limits',
      {
        config: { access: { right: 'settings.read' } },
        schema: { tags, summary: 'How long runs may stand still, and take', response: { 200: RunLimits } },
      },
      async () => ({ items: await readRunLimits(deps.db) }),
    );
    app.put(
      '/settings/run-limits',
      {
        config: { access: { right: 'settings.change' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Change how long runs may stand still, and take' },
          ...{ body: RunLimits, response: { 200: RunLimits } },
        },
      },
      async ({ actor, body }) => ({ items: await changeRunLimits(deps, actor, body.items) }),
    );
  };
