/** Updates as administrators see and do them. Without hostd each of these routes answers `wrong_state`. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id, NoContent } from '../../lib/shapes.ts';
import {
  Bundle,
  CheckedBundle,
  FoundBundles,
  InstallRequest,
  MaintenanceWindow,
  RestartWhen,
  Update,
  UpdateOverview,
  UploadQuery,
} from '../host/updates/schema.ts';
import { fetchBundle, FetchRequest } from './fetch.ts';
import {
  cancelUpdate,
  changeRestart,
  changeWindow,
  collectBundles,
  goBack,
  installUpdate,
  readUpdates,
  removeBundle,
  uploadBundle,
  type UpdateServiceDeps,
} from './service.ts';
import { updateUploadRoutes } from './upload-routes.ts';

const tags = ['updates'];
const act = { access: { right: 'machine.manage' } } as const;
const read = { access: { right: 'operations.read' } } as const;
const ById = Type.Object({ id: Id });
const ByHash = Type.Object({ sha256: Bundle.properties.sha256 });
const { sha256, restart, skipReason } = InstallRequest.properties;
const Uploaded = Type.Omit(UploadQuery, ['source']);

export const hostUpdateRoutes =
  (deps: UpdateServiceDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    // The bytes go on to hostd as they come.
    app.addContentTypeParser('application/octet-stream', (_request, _payload, done) => done(null));

    await app.register(updateUploadRoutes(deps));

    app.get(
      '/host/updates',
      {
        config: read,
        schema: { tags, summary: 'Versions, slots and updates', response: { 200: UpdateOverview } },
      },
      () => readUpdates(deps),
    );
    app.put(
      '/host/updates/bundle',
      {
        config: act,
        schema: {
          tags,
          summary: 'Upload an update: the body is its bytes',
          description:
            'Content-Type is application/octet-stream. An upload that was cut off goes on with the same `key` at `offset`.',
          querystring: Uploaded,
          response: { 200: CheckedBundle },
        },
      },
      (request) => uploadBundle(deps, request.actor, { ...request.query, source: 'upload' }, request.raw),
    );
    app.post(
      '/host/updates/fetch',
      {
        config: act,
        schema: {
          tags,
          summary: 'Fetch an update from an address of yours',
          body: FetchRequest,
          response: { 200: CheckedBundle },
        },
      },
      (request) => fetchBundle(deps, request.actor, request.body),
    );
    app.post(
      '/host/updates/check',
      {
        config: act,
        schema: {
          tags,
          summary: 'Look for updates that were put on the disk',
          response: { 200: FoundBundles },
        },
      },
      (request) => collectBundles(deps, request.actor),
    );
    app.delete(
      '/host/updates/bundles/:sha256',
      {
        config: act,
        schema: {
          tags,
          summary: 'Remove an update that is not installed',
          params: ByHash,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await removeBundle(deps, request.actor, request.params.sha256);
        return reply.status(204).send(null);
      },
    );
    app.post(
      '/host/updates/install',
      {
        config: { ...act, stepUp: true },
        schema: {
          tags,
          summary: 'Rehearse and install an update',
          body: Type.Object({ sha256, restart, skipReason }),
          response: { 202: Update },
        },
      },
      async (request, reply) =>
        reply
          .status(202)
          .send(await installUpdate(deps, request.actor, request.signedIn?.role, request.body)),
    );
    app.post(
      '/host/updates/way-back',
      {
        config: { ...act, stepUp: true },
        schema: {
          tags,
          summary: 'Go back to the version in the other slot; data written since stay',
          body: Type.Object({ restart: RestartWhen }),
          response: { 202: Update },
        },
      },
      async (request, reply) =>
        reply.status(202).send(await goBack(deps, request.actor, request.body.restart)),
    );
    app.post(
      '/host/updates/:id/restart',
      {
        config: act,
        schema: {
          tags,
          summary: 'Say when the machine restarts for an update',
          params: ById,
          body: Type.Object({ restart: RestartWhen }),
          response: { 200: Update },
        },
      },
      (request) => changeRestart(deps, request.actor, request.params.id, request.body.restart),
    );
    app.post(
      '/host/updates/:id/cancel',
      {
        config: act,
        schema: {
          tags,
          summary: 'Cancel an update before its restart',
          params: ById,
          response: { 200: Update },
        },
      },
      (request) => cancelUpdate(deps, request.actor, request.params.id),
    );
    app.put(
      '/host/updates/window',
      {
        config: act,
        schema: {
          tags,
          summary: 'When the machine may restart by itself',
          body: Type.Object({ window: Type.Union([MaintenanceWindow, Type.Null()]) }),
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await changeWindow(deps, request.actor, request.body.window);
        return reply.status(204).send(null);
      },
    );
  };
