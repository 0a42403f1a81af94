import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { AskedApproval, Bytes, Id, NoContent } from '../lib/shapes.ts';
import {
  beginRecoveryKit,
  challengeRecoveryKit,
  listRecoveryKits,
  proveRecoveryKit,
  type KitDeps,
} from './recovery-kits.ts';
import { retireKit, type RetireDeps } from './kits/retire.ts';
import {
  BeginKitReply,
  BeginKitRequest,
  ProveKitRequest,
  RecoveryKit,
  RecoveryKits,
  RetireKitRequest,
} from './schema.ts';
import { fetchSealedKit, removeSealedKit } from './sealed-kits.ts';

const tags = ['appliance'];
const KitParams = Type.Object({ id: Id });

/** Recovery kits: begin, prove, retire, and fetch the copy that a set-up by file left. */
export const kitRoutes =
  (deps: KitDeps & RetireDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/recovery-kits',
      {
        config: { access: { right: 'settings.read' } },
        schema: {
          tags,
          summary: 'Recovery kits, and the public side of the repository that they open',
          response: { 200: RecoveryKits },
        },
      },
      () => listRecoveryKits(deps),
    );

    app.post(
      '/recovery-kits',
      {
        config: { access: { right: 'keys.manage' }, stepUp: true },
        schema: {
          tags,
          summary: 'Begin a recovery kit',
          body: BeginKitRequest,
          response: { 201: BeginKitReply },
        },
      },
      async (request, reply) => {
        reply.status(201);
        return beginRecoveryKit(deps, request.body.recipient, request.actor);
      },
    );

    app.post(
      '/recovery-kits/:id/challenge',
      {
        config: { access: { right: 'keys.manage' } },
        schema: {
          tags,
          summary: 'Begin another proof of a recovery kit',
          params: KitParams,
          response: { 200: Type.Object({ challenge: Type.String() }) },
        },
      },
      (request) => challengeRecoveryKit(deps, request.params.id),
    );

    app.post(
      '/recovery-kits/:id/proof',
      {
        config: { access: { right: 'keys.manage' } },
        schema: {
          tags,
          summary: 'Prove a recovery kit',
          params: KitParams,
          body: ProveKitRequest,
          response: { 200: RecoveryKit },
        },
      },
      (request) => proveRecoveryKit(deps, request.params.id, request.body.response, request.actor),
    );

    app.post(
      '/recovery-kits/:id/retire',
      {
        config: { access: { right: 'keys.manage' }, stepUp: true },
        schema: {
          tags,
          summary: 'Retire a recovery kit',
          description: 'Answers 202 when a second person or time is needed, 204 at the console: it is done.',
          params: KitParams,
          body: RetireKitRequest,
          response: { 202: AskedApproval, 204: NoContent },
        },
      },
      async (request, reply) => {
        const asked = await retireKit(deps, request.params.id, request.body.reason, request.actor);
        return asked === undefined ? reply.status(204).send(null) : reply.status(202).send(asked);
      },
    );

    app.get(
      '/recovery-kits/:id/sealed',
      {
        config: { access: { right: 'keys.manage' } },
        schema: {
          tags,
          summary: 'Fetch the sealed copy of a kit',
          description:
            'An age file. Whoever has the key it was sealed to opens it: `age --decrypt --identity KEY FILE`.',
          params: KitParams,
          response: { 200: Bytes },
        },
      },
      async (request, reply) => {
        const sealed = await fetchSealedKit(deps, request.params.id, request.actor);
        return reply
          .type('application/octet-stream')
          .header('content-disposition', 'attachment; filename="holdfast-recovery-kit.age"')
          .send(sealed);
      },
    );

    app.delete(
      '/recovery-kits/:id/sealed',
      {
        config: { access: { right: 'keys.manage' }, stepUp: true },
        schema: {
          tags,
          summary: 'Remove the sealed copy of a kit from the appliance',
          params: KitParams,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await removeSealedKit(deps, request.params.id, request.actor);
        return reply.status(204).send(null);
      },
    );
  };
