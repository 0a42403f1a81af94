import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { readQuarantine, releaseFromQuarantine } from '../backups/index.ts';
import type { KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { Instant, NoContent } from '../lib/shapes.ts';

const tags = ['quarantine'];
const Quarantine = Type.Object({
  quarantine: Type.Union([
    Type.Object({
      kind: Type.Union([Type.Literal('recovered'), Type.Literal('beside'), Type.Literal('copy')]),
      at: Instant,
      reason: Type.String(),
    }),
    Type.Null(),
  ]),
});

export interface QuarantineDeps {
  db: Database;
  clock: Clock;
  keys: Pick<KeyClient, 'renewAuditLog'>;
}

/** Whether this appliance may write to its targets, and the owner's word that it may again. */
export const quarantineRoutes =
  (deps: QuarantineDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/quarantine',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          tags,
          summary: 'Whether backups wait for a person, and why',
          response: { 200: Quarantine },
        },
      },
      async () => ({ quarantine: (await readQuarantine(deps.db)) ?? null }),
    );
    app.post(
      '/quarantine/release',
      {
        config: { access: { right: 'recovery.manage' }, stepUp: true },
        schema: {
          tags,
          summary: 'Go on with this appliance; every copy of it is off',
          body: Type.Object({ othersAreOff: Type.Literal(true) }),
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await releaseFromQuarantine(deps, request.actor);
        return reply.status(204).send(null);
      },
    );
  };
