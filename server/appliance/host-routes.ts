/** The machine: state, unlock ways, power, support bundle. Without hostd each of these routes answers `wrong_state`. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { Id, NoContent } from '../lib/shapes.ts';
import {
  AddWayRequest,
  ClaimVolumeRequest,
  GrowVolumeRequest,
  HostState,
  PowerRequest,
  RenameWayRequest,
  TestWayRequest,
  UnlockWay,
} from './host/schema.ts';
import {
  addMachineWay,
  claimMachineVolume,
  growMachineVolume,
  readMachine,
  removeMachineWay,
  removeUnknownKeyslots,
  renameMachineWay,
  switchMachine,
  testMachineWay,
  type HostMachineDeps,
} from './host-machine.ts';
import { collectSupportBundle } from './support-bundle.ts';

const tags = ['machine'];
const ById = Type.Object({ id: Id });
const Ways = Type.Object({ items: Type.Array(UnlockWay) });
/** A request of hostd without its actor, which comes from the session. */
const strict = { additionalProperties: false };

export const hostRoutes =
  (deps: HostMachineDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/host',
      {
        config: { access: { right: 'operations.read' } },
        schema: { tags, summary: 'The machine in one document', response: { 200: HostState } },
      },
      () => readMachine(deps),
    );

    app.post(
      '/host/claim-volume',
      {
        config: { access: { right: 'machine.own' } },
        schema: {
          tags,
          summary: 'Give the data volume its recovery key and a way for every day',
          body: Type.Omit(ClaimVolumeRequest, ['actor'], strict),
          response: { 201: Ways },
        },
      },
      async (request, reply) =>
        reply.status(201).send(await claimMachineVolume(deps, request.body, request.actor)),
    );

    app.post(
      '/host/ways',
      {
        config: { access: { right: 'machine.own' }, stepUp: true },
        schema: {
          tags,
          summary: 'Add a way that unlocks',
          body: Type.Omit(AddWayRequest, ['actor'], strict),
          response: { 201: UnlockWay },
        },
      },
      async (request, reply) =>
        reply.status(201).send(await addMachineWay(deps, request.body, request.actor)),
    );

    app.patch(
      '/host/ways/:id',
      {
        config: { access: { right: 'machine.own' } },
        schema: {
          tags,
          summary: 'Rename a way that unlocks',
          params: ById,
          body: Type.Omit(RenameWayRequest, ['actor'], strict),
          response: { 200: UnlockWay },
        },
      },
      (request) => renameMachineWay(deps, request.params.id, request.body.label, request.actor),
    );

    app.delete(
      '/host/ways/:id',
      {
        config: { access: { right: 'machine.own' }, stepUp: true },
        schema: { tags, summary: 'Remove a way that unlocks', params: ById, response: { 204: NoContent } },
      },
      async (request, reply) => {
        await removeMachineWay(deps, request.params.id, request.actor);
        return reply.status(204).send(null);
      },
    );

    app.post(
      '/host/ways/:id/test',
      {
        config: { access: { right: 'machine.own' } },
        schema: {
          tags,
          summary: 'Show that a way opens the volume now',
          params: ById,
          body: Type.Omit(TestWayRequest, ['actor'], strict),
          response: { 200: UnlockWay },
        },
      },
      (request) => testMachineWay(deps, request.params.id, request.body.secret, request.actor),
    );

    app.delete(
      '/host/unknown-keyslots',
      {
        config: { access: { right: 'machine.own' }, stepUp: true },
        schema: {
          tags,
          summary: 'Remove key slots of the volume that no way names',
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await removeUnknownKeyslots(deps, request.actor);
        return reply.status(204).send(null);
      },
    );

    app.post(
      '/host/volume/grow',
      {
        config: { access: { right: 'machine.manage' } },
        schema: {
          tags,
          summary: 'Let the volume take what its disk has grown by',
          body: Type.Omit(GrowVolumeRequest, ['actor'], strict),
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await growMachineVolume(deps, request.body.openedBy, request.actor);
        return reply.status(204).send(null);
      },
    );

    app.post(
      '/host/power',
      {
        config: { access: { right: 'machine.manage' } },
        schema: {
          tags,
          summary: 'Restart or shut down the machine',
          body: Type.Omit(PowerRequest, ['actor'], strict),
          response: { 202: NoContent },
        },
      },
      async (request, reply) => {
        await switchMachine(deps, request.body.action, request.actor);
        return reply.status(202).send(null);
      },
    );

    app.post(
      '/host/support-bundle',
      {
        config: { access: { right: 'machine.manage' } },
        schema: {
          tags,
          summary: 'What support needs to know: no content, no secrets',
          body: Type.Object({}),
        },
      },
      async (request, reply) =>
        reply
          .header('content-disposition', 'attachment; filename="holdfast-support.json"')
          .send(await collectSupportBundle(deps, request.actor)),
    );
  };
