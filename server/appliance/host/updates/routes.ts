/** The verbs of updates on hostd's socket. Their refusals are in `bundle.ts`, `install.ts` and `restart.ts`. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Readable } from 'node:stream';
import { Type } from 'typebox';
import { Id, NoContent } from '../../../lib/shapes.ts';
import { ActorRequest } from '../schema.ts';
import {
  AdvanceRequest,
  Bundle,
  CheckedBundle,
  CurrentUpdate,
  FoundBundles,
  InstallRequest,
  MaintenanceWindow,
  PartialBundle,
  RestartRequest,
  Update,
  UpdateOverview,
  UploadQuery,
  WayBackRequest,
} from './schema.ts';
import { uploadRoutes } from './upload-routes.ts';
import type { Updates } from './updates.ts';

const OneUpdate = Type.Object({ id: Id });
const OneBundle = Type.Object({ sha256: Bundle.properties.sha256 });
const OnePartial = Type.Object({ key: UploadQuery.properties.key });
const WindowRequest = Type.Object({ window: Type.Union([MaintenanceWindow, Type.Null()]) });

export const updateRoutes =
  (updates: Updates): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload));

    app.get('/updates', { schema: { response: { 200: UpdateOverview } } }, () => updates.overview());

    // Asked every minute: no program is started for it, and an upload that nobody goes on with is found old.
    app.get('/updates/current', { schema: { response: { 200: CurrentUpdate } } }, async () => {
      await updates.uploads.current();
      return { current: (await updates.records.current()) ?? null };
    });

    await app.register(uploadRoutes(updates));

    app.get(
      '/updates/partial/:key',
      { schema: { params: OnePartial, response: { 200: PartialBundle } } },
      ({ params }) => updates.store.partial(params.key),
    );

    app.put(
      '/updates/bundle',
      { schema: { querystring: UploadQuery, response: { 200: CheckedBundle } } },
      async ({ query, body }) => updates.check(await updates.store.receive(query, body as Readable)),
    );

    app.post('/updates/check', { schema: { response: { 200: FoundBundles } } }, async () => {
      const { taken, refused } = await updates.store.collect();
      const items = [];
      for (const bundle of taken) items.push(await updates.check(bundle));
      return { items, refused };
    });

    app.delete(
      '/updates/bundles/:sha256',
      { schema: { params: OneBundle, response: { 204: NoContent } } },
      async ({ params }, reply) => {
        await updates.removeBundle(params.sha256);
        return reply.status(204).send(null);
      },
    );

    app.put('/updates/window', { schema: { body: WindowRequest } }, async ({ body }, reply) => {
      await updates.records.setWindow(body.window ?? undefined);
      return reply.status(204).send(null);
    });

    app.post(
      '/updates/install',
      { schema: { body: InstallRequest, response: { 200: Update } } },
      ({ body }) => updates.install(body),
    );

    app.post(
      '/updates/way-back',
      { schema: { body: WayBackRequest, response: { 200: Update } } },
      ({ body }) => updates.wayBack(body),
    );

    app.post(
      '/updates/:id/advance',
      { schema: { params: OneUpdate, body: AdvanceRequest, response: { 200: Update } } },
      ({ params, body }) => updates.advance(params.id, body),
    );

    app.post(
      '/updates/:id/restart',
      { schema: { params: OneUpdate, body: RestartRequest, response: { 200: Update } } },
      ({ params, body }) => updates.setRestart(params.id, body.restart),
    );

    app.post(
      '/updates/:id/cancel',
      { schema: { params: OneUpdate, body: ActorRequest, response: { 200: Update } } },
      ({ params, body }) => updates.cancel(params.id, body.actor),
    );
  };
