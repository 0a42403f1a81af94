import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id, NoContent } from '../../lib/shapes.ts';
import { listApiKeys, makeApiKey, revokeApiKey, rotateApiKey, type ApiKeyDeps } from './api-keys.ts';
import { changeApiLogSettings, listApiLog, readApiLogSettings } from './api-log.ts';
import {
  ApiKeys,
  ApiLogPage,
  ApiLogQuery,
  ApiLogSettings,
  KeysQuery,
  MadeApiKey,
  NewApiKey,
  Rotation,
  Scope,
} from './schema.ts';

const tags = ['api-keys'];
const ById = Type.Object({ id: Id });
const ByScope = Type.Object({ scope: Scope });
const reads = { access: { right: 'api-keys.own' } } as const;
const acts = { access: { right: 'api-keys.own' }, stepUp: true } as const;

export const apiKeyRoutes =
  (deps: ApiKeyDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/api-keys',
      {
        config: reads,
        schema: { tags, summary: 'API keys', querystring: KeysQuery, response: { 200: ApiKeys } },
      },
      (request) => listApiKeys(deps, request.person, request.query.all === true),
    );
    app.post(
      '/api-keys',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Make a key; its token is shown this once' },
          body: NewApiKey,
          response: { 201: MadeApiKey },
        },
      },
      async ({ person, body, actor }, reply) =>
        reply
          .status(201)
          .header('cache-control', 'no-store')
          .send(await makeApiKey(deps, person, body, actor)),
    );
    app.post(
      '/api-keys/:id/rotate',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Give a key a new secret; the old one counts for a while' },
          params: ById,
          body: Rotation,
          response: { 200: MadeApiKey },
        },
      },
      async ({ person, params, body, actor }, reply) =>
        reply
          .header('cache-control', 'no-store')
          .send(await rotateApiKey(deps, person, params.id, body, actor)),
    );
    app.delete(
      '/api-keys/:id',
      {
        config: reads,
        schema: { tags, summary: 'Revoke a key at once', params: ById, response: { 204: NoContent } },
      },
      async ({ person, params, actor }, reply) => {
        await revokeApiKey(deps, person, params.id, actor);
        return reply.status(204).send(null);
      },
    );
    app.get(
      '/api-log',
      {
        config: reads,
        schema: {
          ...{ tags, summary: 'What was asked with keys, newest first' },
          querystring: ApiLogQuery,
          response: { 200: ApiLogPage },
        },
      },
      (request) => listApiLog(deps, request.person, request.query),
    );
    app.get(
      '/api-log/settings/:scope',
      {
        config: reads,
        schema: {
          ...{ tags, summary: 'Whether the API log is kept, and how long' },
          params: ByScope,
          response: { 200: ApiLogSettings },
        },
      },
      (request) => readApiLogSettings(deps, request.person, request.params.scope),
    );
    app.put(
      '/api-log/settings/:scope',
      {
        config: acts,
        schema: {
          ...{ tags, summary: 'Keep the API log or not, and how long' },
          params: ByScope,
          body: ApiLogSettings,
          response: { 200: ApiLogSettings },
        },
      },
      ({ person, params, body, actor }) => changeApiLogSettings(deps, person, params.scope, body, actor),
    );
  };
