/** Setting this appliance back, on its machine image. Without hostd each of these routes answers `wrong_state`. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { AskedApproval, Id, NoContent } from '../../lib/shapes.ts';
import { CheckedSetBack, SetBackView } from '../host/set-back/schema.ts';
import { withdrawPermit } from './permits.ts';
import { askForSetBack } from './requests.ts';
import {
  AskSetBackBody,
  CheckSetBackBody,
  DiscardSetBackBody,
  SetBackPlan,
  SnapshotQuery,
  StartSetBackBody,
  UndoPlan,
  UndoSetBackBody,
} from './schema.ts';
import {
  checkSetBack,
  discardSetBack,
  planSetBack,
  planUndo,
  readSetBack,
  startSetBack,
  undoSetBack,
  type SetBackServiceDeps,
} from './service.ts';

const tags = ['set-back'];
const owner = { access: { right: 'recovery.manage' } } as const;

export const hostSetBackRoutes =
  (deps: SetBackServiceDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/host/set-back',
      {
        config: { access: { right: 'operations.read' }, background: true },
        schema: {
          tags,
          summary: 'The last set-back of this machine, and how far one is',
          response: { 200: SetBackView },
        },
      },
      () => readSetBack(deps),
    );
    app.get(
      '/host/set-back/plan',
      {
        // The page asks again by itself while it waits for a decision.
        config: { ...owner, background: true },
        schema: {
          tags,
          summary: 'What setting this appliance back to a snapshot means',
          querystring: SnapshotQuery,
          response: { 200: SetBackPlan },
        },
      },
      (request) => planSetBack(deps, request.query, request.signedIn),
    );
    app.get(
      '/host/set-back/undo',
      {
        config: owner,
        schema: { tags, summary: 'What undoing the last set-back means', response: { 200: UndoPlan } },
      },
      () => planUndo(deps),
    );
    app.post(
      '/host/set-back/check',
      {
        config: owner,
        schema: {
          tags,
          summary:
            'Whether the kit opens the backups, the snapshot is there, and there is room. Changes nothing',
          body: CheckSetBackBody,
          response: { 200: CheckedSetBack },
        },
      },
      (request) => checkSetBack(deps, request.actor, request.body),
    );
    app.post(
      '/host/set-back/requests',
      {
        config: { ...owner, stepUp: true },
        schema: {
          tags,
          summary: 'Ask another administrator to approve setting this appliance back to a snapshot',
          description:
            'What is approved may be begun once within 24 hours, with the recovery kit. With a sole administrator it is permitted after the waiting period.',
          body: AskSetBackBody,
          response: { 202: AskedApproval },
        },
      },
      async (request, reply) =>
        reply.status(202).send(await askForSetBack(deps, request.actor, request.body)),
    );
    app.post(
      '/host/set-back/permits/:id/withdraw',
      {
        config: { access: { right: 'approvals.decide' } },
        schema: {
          tags,
          summary: 'Take back the approval of a set-back that nobody has begun yet',
          params: Type.Object({ id: Id }),
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await withdrawPermit(deps, request.params.id, request.actor);
        return reply.status(204).send(null);
      },
    );
    app.post(
      '/host/set-back',
      {
        config: { ...owner, stepUp: true },
        schema: {
          tags,
          summary: 'Set this appliance back to a snapshot. This server stops meanwhile',
          description:
            'What was written since goes out of use. The data from before are set aside on the data volume for seven days. A person needs the approval of another one; the console gives a reason instead.',
          body: StartSetBackBody,
          response: { 202: NoContent },
        },
      },
      async (request, reply) => {
        await startSetBack(deps, request.actor, request.body);
        return reply.status(202).send(null);
      },
    );
    app.post(
      '/host/set-back/undo',
      {
        config: { ...owner, stepUp: true },
        schema: {
          tags,
          summary: 'Undo the last set-back: what was written since is lost. This server stops meanwhile',
          body: UndoSetBackBody,
          response: { 202: NoContent },
        },
      },
      async (request, reply) => {
        await undoSetBack(deps, request.actor, request.body);
        return reply.status(202).send(null);
      },
    );
    app.post(
      '/host/set-back/discard',
      {
        config: { ...owner, stepUp: true },
        schema: {
          tags,
          summary:
            'Discard the data from before the last set-back, and free their space; a person asks for approval',
          body: DiscardSetBackBody,
          response: { 202: AskedApproval, 204: NoContent },
        },
      },
      async (request, reply) => {
        const asked = await discardSetBack(deps, request.actor, request.body);
        return asked === undefined ? reply.status(204).send(null) : reply.status(202).send(asked);
      },
    );
  };
