import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { HostDeps } from './host-app.ts';
import { readHostState } from './host-state.ts';
import { HostState } from './schema.ts';

export const stateRoutes =
  (deps: HostDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get('/state', { schema: { response: { 200: HostState } } }, () => readHostState(deps));
  };
