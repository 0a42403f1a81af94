import { Socket } from 'node:net';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { HoldfastError } from '../lib/errors.ts';
import { Bytes, ErrorReply, Id, NoContent } from '../lib/shapes.ts';
import { createFolders } from './create-folders.ts';
import type { WorkspaceDeps } from './deps.ts';
import { findDownload, openDownload, type Reading } from './download-file.ts';
import { memberRoutes } from './member-routes.ts';
import type { MembershipDeps } from './membership.ts';
import { listFolder } from './list-folder.ts';
import { openPreview, PREVIEW_HEADERS } from './preview.ts';
import { answerRange, contentDisposition } from './range-request.ts';
import {
  BatchReply,
  ChangeNodeRequest,
  CreateFolderRequest,
  CreateFoldersReply,
  CreateFoldersRequest,
  FolderPage,
  FolderQuery,
  Node,
  UploadQuery,
  Workspace,
} from './schema.ts';
import { changeNode, createFolder, deleteNode, getNode, listWorkspaces } from './service.ts';
import { uploadBatch } from './upload-batch.ts';
import { uploadFile } from './upload-file.ts';

/** A connection on which nothing moves for this long is cut: an upload that stalls, a reader that stopped reading. */
const STALLED_MS = 120_000;

/** How long the rest of a refused upload is received and dropped. */
const REFUSED_MS = 3_000;

const ById = Type.Object({ id: Id });
const reads = { access: { right: 'files.read' } } as const;
const writes = { access: { right: 'files.write' } } as const;
const tags = ['files'];

const BATCH_DESCRIPTION =
  'Content-Type is application/octet-stream. The body: the length of the head (four bytes, big-endian); the head, JSON: `{"onConflict":"refuse"|"replace"|"rename","files":[{"folderId","name","sizeBytes","mtime"}]}`; then the contents in that order. At most 500 files of 1 MiB each, 16 MiB in all. Answers for each file what became of it.';

/** Files and folders of the workspaces a person is a member of. */
export function workspaceRoutes(deps: WorkspaceDeps & MembershipDeps): FastifyPluginAsyncTypebox {
  return async (app) => {
    // Bytes of files are not parsed: the handler reads the request itself.
    app.addContentTypeParser('application/octet-stream', (_request, _payload, done) => done(null));

    await app.register(memberRoutes(deps));

    app.get(
      '/workspaces',
      {
        config: reads,
        schema: {
          tags,
          summary: 'Workspaces you are a member of',
          response: { 200: Type.Object({ items: Type.Array(Workspace) }) },
        },
      },
      async (request) => ({ items: await listWorkspaces(deps, request.person) }),
    );
    app.get(
      '/folders/:id',
      {
        config: reads,
        schema: {
          tags,
          summary: 'A folder and one page of what is in it',
          params: ById,
          querystring: FolderQuery,
          response: { 200: FolderPage },
        },
      },
      (request) => listFolder(deps, request.params.id, request.query, request.person),
    );
    app.post(
      '/folders',
      {
        config: writes,
        schema: { tags, summary: 'Make a folder', body: CreateFolderRequest, response: { 201: Node } },
      },
      async (request, reply) =>
        reply.status(201).send(await createFolder(deps, request.body, request.person, request.actor)),
    );
    app.put(
      '/folders/:id/files',
      {
        config: writes,
        schema: {
          tags,
          summary: 'Upload a file: the body is its bytes',
          description:
            'Content-Type is application/octet-stream. Nothing is stored unless every byte arrived.',
          params: ById,
          querystring: UploadQuery,
          response: { 201: Node, 409: ErrorReply, 413: ErrorReply, 507: ErrorReply },
        },
      },
      async (request, reply) => {
        const { name, mtime, mode, onConflict = 'refuse' } = request.query;
        cutWhenStalled(request);
        const upload = {
          folderId: request.params.id,
          name,
          mtimeNs: mtime,
          mode,
          onConflict,
          announcedBytes: announcedBytes(request),
        };
        try {
          const node = await uploadFile(deps, upload, bodyOf(request), request.person, request.actor);
          reply.status(201);
          return node;
        } catch (error) {
          stopReceiving(request);
          throw error;
        }
      },
    );
    app.post(
      '/folders/:id/paths',
      {
        config: writes,
        schema: {
          tags,
          summary: 'Make the folders of a tree, unless they are there',
          description: 'Answers for each path its folder, or why there can be none. Can be repeated.',
          params: ById,
          body: CreateFoldersRequest,
          response: { 200: CreateFoldersReply },
        },
      },
      (request) => createFolders(deps, request.params.id, request.body.paths, request.person, request.actor),
    );
    app.post(
      '/folders/:id/batch',
      {
        config: writes,
        schema: {
          tags,
          summary: 'Upload many small files at once',
          description: BATCH_DESCRIPTION,
          params: ById,
          response: { 200: BatchReply, 413: ErrorReply, 507: ErrorReply },
        },
      },
      async (request) => {
        cutWhenStalled(request);
        try {
          return await uploadBatch(deps, request.params.id, bodyOf(request), request.person, request.actor);
        } catch (error) {
          stopReceiving(request);
          throw error;
        }
      },
    );
    app.get(
      '/nodes/:id',
      { config: reads, schema: { tags, summary: 'A file or folder', params: ById, response: { 200: Node } } },
      (request) => getNode(deps, request.params.id, request.person),
    );
    app.patch(
      '/nodes/:id',
      {
        config: writes,
        schema: {
          tags,
          summary: 'Rename or move a file or folder',
          params: ById,
          body: ChangeNodeRequest,
          response: { 200: Node },
        },
      },
      (request) => changeNode(deps, request.params.id, request.body, request.person, request.actor),
    );
    app.delete(
      '/nodes/:id',
      {
        config: writes,
        schema: {
          tags,
          summary: 'Delete a file, or a folder with all that is in it',
          params: ById,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await deleteNode(deps, request.params.id, request.person, request.actor);
        return reply.status(204).send(null);
      },
    );
    app.route({
      method: ['GET', 'HEAD'],
      url: '/files/:id/content',
      config: reads,
      schema: {
        tags,
        summary: 'Download a file, whole or a range of it',
        params: ById,
        response: { 200: Bytes, 206: Bytes, 416: ErrorReply },
      },
      handler: async (request, reply) => {
        await sendContent(deps, request.params.id, request, reply);
        return reply;
      },
    });
    app.get(
      '/files/:id/preview',
      {
        config: reads,
        schema: {
          tags,
          summary: 'Show an image, or the first MiB of a text, in a document that can run nothing',
          params: ById,
          response: { 200: Bytes },
        },
      },
      async (request, reply) => {
        await sendPreview(deps, request.params.id, request, reply);
        return reply;
      },
    );
  };
}

async function sendContent(
  deps: WorkspaceDeps,
  id: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const download = await findDownload(deps, id, request.person);
  const { range, 'if-range': ifRange, 'if-none-match': ifNoneMatch } = request.headers;
  const answer = answerRange(
    { range, ifRange: textOf(ifRange), ifNoneMatch },
    download.etag,
    download.sizeBytes,
  );
  reply.headers({
    etag: download.etag,
    'accept-ranges': 'bytes',
    'cache-control': 'private, no-store',
    'content-disposition': contentDisposition('attachment', download.node.name),
    'content-security-policy': "sandbox; default-src 'none'",
    'x-content-type-options': 'nosniff',
    'cross-origin-resource-policy': 'same-origin',
  });
  if (answer.status === 304) return void reply.status(304).send();
  if (answer.status === 416) {
    reply.header('content-range', answer.contentRange).removeHeader('content-disposition');
    throw new HoldfastError('range_not_satisfiable', 'This range lies beyond the end of the file', {
      hint: `It has ${download.sizeBytes} bytes.`,
    });
  }
  reply.status(answer.status).header('content-length', answer.range.end - answer.range.start);
  reply.type(download.content.media_type);
  if (answer.status === 206) reply.header('content-range', answer.contentRange);
  if (request.method === 'HEAD') return void reply.send();
  cutWhenStalled(request);
  reply.send(await openDownload(deps, download, answer.range, readingOf(request, 'downloaded')));
}

async function sendPreview(
  deps: WorkspaceDeps,
  id: string,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const download = await findDownload(deps, id, request.person);
  const preview = await openPreview(deps, download, readingOf(request, 'previewed'));
  reply.headers({
    ...PREVIEW_HEADERS,
    'content-disposition': contentDisposition('inline', download.node.name),
    'content-length': preview.sizeBytes,
  });
  cutWhenStalled(request);
  reply.type(preview.contentType).send(preview.body);
}

function readingOf({ person, actor }: FastifyRequest, act: Reading['act']): Reading {
  return { person, actor, act };
}

/**
 * The bytes of a request. A sender that goes away is an error, also when it announced no length. Who stops reading
 * half-way leaves the connection open: the answer that says why goes the same way.
 */
async function* bodyOf(request: FastifyRequest): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of request.raw.iterator({ destroyOnReturn: false })) yield chunk as Buffer;
  } catch (cause) {
    throw new HoldfastError('cancelled', 'The upload was cut off before all of its bytes had arrived', {
      cause,
    });
  }
}

/** A sender of a refused upload is given time to read the answer, then cut off: it may have terabytes left to send. */
function stopReceiving(request: FastifyRequest): void {
  if (request.raw.readableEnded) return;
  setTimeout(() => {
    if (!request.raw.readableEnded) request.raw.destroy();
  }, REFUSED_MS).unref();
}

function announcedBytes(request: FastifyRequest): number | undefined {
  const length = request.headers['content-length'];
  return length === undefined ? undefined : Number(length);
}

function cutWhenStalled(request: FastifyRequest): void {
  if (request.raw.socket instanceof Socket) request.raw.socket.setTimeout(STALLED_MS);
}

function textOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
