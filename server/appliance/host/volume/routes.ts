/** Verbs of the data volume and the ways that open it. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { readFileIfPresent } from '../../../lib/files.ts';
import { HoldfastError } from '../../../lib/errors.ts';
import { Id } from '../../../lib/shapes.ts';
import { growVolume } from './growth.ts';
import type { VolumeMapping } from './mapping.ts';
import {
  ActorRequest,
  AddWayRequest,
  ClaimVolumeRequest,
  GrowVolumeRequest,
  RenameWayRequest,
  TestWayRequest,
  UnlockWay,
} from '../schema.ts';
import {
  addWay,
  claimVolume,
  memoryKeyPath,
  removeUnknownKeyslots,
  removeWay,
  renameWay,
  testWay,
} from '../ways/ways.ts';
import type { WaysDeps } from '../ways/secret.ts';

const Params = Type.Object({ id: Id });
const Ways = Type.Object({ items: Type.Array(UnlockWay) });

export const volumeRoutes =
  (deps: WaysDeps & { mapping: Pick<VolumeMapping, 'grow'> }): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.post(
      '/claim-volume',
      { schema: { body: ClaimVolumeRequest, response: { 201: Ways } } },
      async (request, reply) => {
        const items = await claimVolume(deps, request.body, await readMemoryKey(deps));
        return reply.status(201).send({ items });
      },
    );

    app.post(
      '/ways',
      { schema: { body: AddWayRequest, response: { 201: UnlockWay } } },
      async (request, reply) => reply.status(201).send(await addWay(deps, request.body)),
    );

    app.patch(
      '/ways/:id',
      { schema: { params: Params, body: RenameWayRequest, response: { 200: UnlockWay } } },
      (request) => renameWay(deps, request.params.id, request.body.label, request.body.actor),
    );

    app.delete('/ways/:id', { schema: { params: Params, body: ActorRequest } }, async (request, reply) => {
      await removeWay(deps, request.params.id, request.body.actor);
      return reply.status(204).send(null);
    });

    app.post(
      '/ways/:id/test',
      { schema: { params: Params, body: TestWayRequest, response: { 200: UnlockWay } } },
      (request) => testWay(deps, request.params.id, request.body),
    );

    app.delete('/unknown-keyslots', { schema: { body: ActorRequest } }, async (request, reply) => {
      await removeUnknownKeyslots(deps, request.body.actor);
      return reply.status(204).send(null);
    });

    app.post('/volume/grow', { schema: { body: GrowVolumeRequest } }, async (request, reply) => {
      await growVolume(deps, request.body);
      return reply.status(204).send(null);
    });
  };

async function readMemoryKey(deps: Pick<WaysDeps, 'places'>): Promise<string> {
  const content = await readFileIfPresent(memoryKeyPath(deps.places));
  if (content !== undefined) return content.toString('latin1');
  throw new HoldfastError('wrong_state', 'The data volume has an owner already', {
    hint: 'Add ways in the settings of the appliance, under Unlocking.',
  });
}
