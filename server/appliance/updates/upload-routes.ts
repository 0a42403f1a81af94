/** An update in pieces: begin, ask how far it is, send from there, discard. A large file of any kind may come this way. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id, NoContent } from '../../lib/shapes.ts';
import {
  BeginUploadRequest,
  BundleUpload,
  CurrentUpload,
  PieceHeaders,
  PieceTaken,
} from '../host/updates/schema.ts';
import type { UpdateServiceDeps } from './service.ts';
import { announcedLength, beginUpload, discardUpload, readUpload, sendPiece } from './uploads.ts';

const tags = ['updates'];
const params = Type.Object({ id: Id });

/** Within the plugin that leaves bytes unparsed. */
export const updateUploadRoutes =
  (deps: UpdateServiceDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/host/updates/upload',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          tags,
          summary: 'The upload under way, and how far it is',
          response: { 200: CurrentUpload },
        },
      },
      () => readUpload(deps),
    );
    app.post(
      '/host/updates/upload',
      {
        config: { access: { right: 'machine.manage' } },
        schema: {
          tags,
          summary: 'Begin to upload an update, or go on with the same file',
          description:
            'One upload is under way at a time, and is discarded a day after its last piece. The answer says at which `offset` to go on.',
          body: BeginUploadRequest,
          response: { 200: BundleUpload },
        },
      },
      (request) => beginUpload(deps, request.actor, request.body),
    );
    app.patch(
      '/host/updates/upload/:id',
      {
        config: { access: { right: 'machine.manage' } },
        schema: {
          tags,
          summary: 'Send the next piece: the body is its bytes',
          description:
            'Content-Type is application/octet-stream; `Upload-Offset` says where it begins. After a broken connection, ask for the offset and go on there. With the last piece the update is checked.',
          params,
          headers: PieceHeaders,
          response: { 200: PieceTaken },
        },
      },
      (request) =>
        sendPiece(deps, request.actor, {
          id: request.params.id,
          offset: Number(request.headers['upload-offset']),
          sizeBytes: announcedLength(request.headers['content-length']),
          body: request.raw,
        }),
    );
    app.delete(
      '/host/updates/upload/:id',
      {
        config: { access: { right: 'machine.manage' } },
        schema: { tags, summary: 'Discard the upload under way', params, response: { 204: NoContent } },
      },
      async (request, reply) => {
        await discardUpload(deps, request.actor, request.params.id);
        return reply.status(204).send(null);
      },
    );
  };
