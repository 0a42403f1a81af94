import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { NoContent } from '../../../lib/shapes.ts';
import { RecoveryProblem } from '../recovery/schema.ts';
import { ActorRequest, HostActor } from '../schema.ts';
import {
  CheckedSetBack,
  CheckSetBackRequest,
  SetBackView,
  StartSetBackRequest,
  UndoSetBackRequest,
} from './schema.ts';
import type { SetBack } from './set-back.ts';

const accepted = { response: { 202: NoContent } };
const none = { response: { 204: NoContent } };
const End = Type.Object(
  { actor: HostActor, problem: Type.Optional(RecoveryProblem) },
  { additionalProperties: false },
);

/** The verbs of a set-back, on hostd's socket; what they refuse is in `set-back.ts`. */
export const setBackRoutes =
  (setBack: SetBack): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get('/set-back', { schema: { response: { 200: SetBackView } } }, () => setBack.view());
    app.post(
      '/set-back/check',
      { schema: { body: CheckSetBackRequest, response: { 200: CheckedSetBack } } },
      ({ body }) => setBack.check(body),
    );
    app.post(
      '/set-back/start',
      { schema: { body: StartSetBackRequest, ...accepted } },
      async ({ body }, reply) => {
        await setBack.start(body);
        return reply.status(202).send(null);
      },
    );
    app.post(
      '/set-back/undo',
      { schema: { body: UndoSetBackRequest, ...accepted } },
      async ({ body }, reply) => {
        await setBack.undo(body);
        return reply.status(202).send(null);
      },
    );
    app.post('/set-back/discard', { schema: { body: ActorRequest, ...none } }, async ({ body }, reply) => {
      await setBack.discard(body.actor);
      return reply.status(204).send(null);
    });
    app.post('/set-back/begin', { schema: { body: ActorRequest, ...none } }, async (_request, reply) => {
      await setBack.begin();
      return reply.status(204).send(null);
    });
    app.post('/set-back/end', { schema: { body: End, ...none } }, async ({ body }, reply) => {
      await setBack.end(body.problem);
      return reply.status(204).send(null);
    });
  };
