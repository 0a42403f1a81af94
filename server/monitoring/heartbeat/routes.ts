import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { BeatDeps } from './beat.ts';
import { HeartbeatChange, HeartbeatReply } from './schema.ts';
import { callNow, changeHeartbeat, readHeartbeat, removeHeartbeat } from './settings.ts';

const tags = ['heartbeat'];
const change = { access: { right: 'settings.change' }, stepUp: true } as const;

export const heartbeatRoutes =
  (deps: BeatDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/settings/heartbeat',
      {
        config: { access: { right: 'settings.read' }, background: true },
        schema: {
          tags,
          summary: 'The call that says outside that this lives',
          response: { 200: HeartbeatReply },
        },
      },
      () => readHeartbeat(deps),
    );
    app.put(
      '/settings/heartbeat',
      {
        config: change,
        schema: {
          ...{ tags, summary: 'Set up or change the heartbeat' },
          ...{ body: HeartbeatChange, response: { 200: HeartbeatReply } },
        },
      },
      ({ actor, body }) => changeHeartbeat(deps, actor, body),
    );
    app.delete(
      '/settings/heartbeat',
      {
        config: change,
        schema: { tags, summary: 'Take the heartbeat away', response: { 204: Type.Null() } },
      },
      async ({ actor }, reply) => {
        await removeHeartbeat(deps, actor);
        return reply.status(204).send(null);
      },
    );
    app.post(
      '/settings/heartbeat/call',
      {
        config: { access: { right: 'backups.run' } },
        schema: { tags, summary: 'Call at once', response: { 200: HeartbeatReply } },
      },
      ({ actor }) => callNow(deps, actor),
    );
  };
