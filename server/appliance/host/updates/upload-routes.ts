/** An upload in pieces on hostd's socket; what is refused is in `uploads.ts` and `server/lib/partial-file.ts`. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Readable } from 'node:stream';
import { Type } from 'typebox';
import { Id, NoContent } from '../../../lib/shapes.ts';
import { BeginUploadRequest, BundleUpload, CurrentUpload, PieceHeaders, PieceTaken } from './schema.ts';
import type { Updates } from './updates.ts';

const params = Type.Object({ id: Id });

export const uploadRoutes =
  (updates: Updates): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get('/updates/upload', { schema: { response: { 200: CurrentUpload } } }, async () => ({
      upload: (await updates.uploads.current()) ?? null,
    }));

    app.post(
      '/updates/upload',
      { schema: { body: BeginUploadRequest, response: { 200: BundleUpload } } },
      ({ body }) => updates.uploads.begin(body),
    );

    app.patch(
      '/updates/upload/:id',
      { schema: { params, headers: PieceHeaders, response: { 200: PieceTaken } } },
      async ({ params: { id }, headers, body }) => {
        const taken = await updates.uploads.append(id, Number(headers['upload-offset']), body as Readable);
        return {
          upload: taken.upload,
          bundle: taken.bundle === undefined ? null : await updates.check(taken.bundle),
        };
      },
    );

    app.delete(
      '/updates/upload/:id',
      { schema: { params, response: { 204: NoContent } } },
      async ({ params: { id } }, reply) => {
        await updates.uploads.discard(id);
        return reply.status(204).send(null);
      },
    );
  };
