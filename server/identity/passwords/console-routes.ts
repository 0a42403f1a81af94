/** The list of leaked passwords that an operator gives: behind the console socket alone. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Readable } from 'node:stream';
import { Type } from 'typebox';
import { HoldfastError } from '../../lib/errors.ts';
import type { PasswordDeps } from '../people/people.ts';
import { describeLeakedLists, importLeakedList } from './leaked-passwords.ts';
import { LeakedLists } from './schema.ts';

const config = { access: 'console' } as const;
const tags = ['console'];
const MOST_BYTES = 1024 ** 4;

export const leakedPasswordRoutes =
  (deps: PasswordDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload));

    app.get(
      '/console/leaked-passwords',
      { config, schema: { tags, summary: 'Lists of leaked passwords', response: { 200: LeakedLists } } },
      () => describeLeakedLists(deps),
    );

    app.put(
      '/console/leaked-passwords',
      {
        config,
        bodyLimit: MOST_BYTES,
        schema: {
          ...{ tags, summary: 'Take in a list of leaked passwords: the body is its lines SHA-1:COUNT' },
          querystring: Type.Object({
            atLeast: Type.Integer({ minimum: 1, maximum: 1_000_000, default: 1 }),
          }),
          response: { 200: LeakedLists },
        },
      },
      async (request) => {
        const sizeBytes = Number(request.headers['content-length']);
        if (!Number.isSafeInteger(sizeBytes))
          throw new HoldfastError('invalid_input', 'The size of the list is needed: send its content-length');
        // As the parser above hands it over.
        const content = request.body as Readable;
        const source = { content, sizeBytes, atLeast: request.query.atLeast };
        return importLeakedList(deps, source, request.actor);
      },
    );
  };
