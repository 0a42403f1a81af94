import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { changeRequestLog, readRequestLogState, type RequestLogDeps } from './request-log.ts';
import { RequestLogChange, RequestLogState, RequestPage, RequestQuery } from './schema.ts';
import { searchLog } from './search-log.ts';

const tags = ['requests'];

export const requestLogRoutes =
  (deps: RequestLogDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/requests',
      {
        config: { access: { right: 'audit.read' } },
        schema: {
          ...{ tags, summary: 'Requests to this appliance, newest first' },
          querystring: RequestQuery,
          response: { 200: RequestPage },
        },
      },
      (request) => searchLog(deps.requestLog, deps.clock, request.query),
    );
    app.get(
      '/requests/settings',
      {
        config: { access: { right: 'settings.read' } },
        schema: {
          ...{ tags, summary: 'How long requests are kept, and what they take' },
          response: { 200: RequestLogState },
        },
      },
      () => readRequestLogState(deps),
    );
    app.put(
      '/requests/settings',
      {
        config: { access: { right: 'settings.change' } },
        schema: {
          ...{ tags, summary: 'Change how long requests are kept' },
          body: RequestLogChange,
          response: { 200: RequestLogState },
        },
      },
      (request) => changeRequestLog(deps, request.actor, request.body),
    );
  };
