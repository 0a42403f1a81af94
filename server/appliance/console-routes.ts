/** What only the console may do. These routes exist behind the control socket alone; access `console` says so twice. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { requestDirectoryRestore } from '../backups/index.ts';
import { listPeople } from '../identity/index.ts';
import type { KeyClient } from '../keys/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { Run } from '../lib/run-schema.ts';
import { Id, NoContent } from '../lib/shapes.ts';
import { claimAtConsole, renewClaimCode, type ClaimDeps } from './claim.ts';
import { recoverOwner } from './owner-recovery.ts';
import type { KitDeps } from './recovery-kits.ts';
import { ClaimRequest, KeepSealedKitRequest } from './schema.ts';
import { keepSealedKit } from './sealed-kits.ts';

export type ConsoleDeps = ClaimDeps & KitDeps & { keys: Pick<KeyClient, 'status'> };

const config = { access: 'console' } as const;
const tags = ['console'];
const Path = Type.String({ minLength: 1, maxLength: 4096 });
const DirectoryRestoreRequest = Type.Object({
  snapshotId: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  targetId: Id,
  to: Type.String({ minLength: 2, maxLength: 4096, pattern: '^/' }),
  paths: Type.Optional(Type.Array(Path, { minItems: 1, maxItems: 1000 })),
  existing: Type.Union([Type.Literal('refuse'), Type.Literal('skip'), Type.Literal('replace')]),
});

export const consoleRoutes =
  (deps: ConsoleDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.post(
      '/console/claim-code',
      { config, schema: { tags, summary: 'Make a new claim code' } },
      async (request) => {
        const renewed = await renewClaimCode(deps, request.actor);
        if (renewed !== undefined) return renewed;
        throw new HoldfastError('wrong_state', 'This appliance has an owner already', {
          hint: 'A sole owner who lost the password gets back in with: holdfast recover-owner.',
        });
      },
    );

    app.post(
      '/console/claim',
      {
        config,
        schema: {
          tags,
          summary: 'Make the owner, for set-up by file',
          body: Type.Object({ owner: ClaimRequest.properties.owner }),
        },
      },
      async (request, reply) => {
        reply.status(201);
        return claimAtConsole(deps, request.body.owner, request.actor);
      },
    );

    app.put(
      '/recovery-kits/:id/sealed',
      {
        config,
        schema: {
          tags,
          summary: 'Keep a sealed copy of a kit for the owner to fetch',
          params: Type.Object({ id: Id }),
          body: KeepSealedKitRequest,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        const sealed = Buffer.from(request.body.sealed, 'base64');
        await keepSealedKit(deps, request.params.id, sealed, request.actor);
        return reply.status(204).send(null);
      },
    );

    app.post(
      '/console/recover-owner',
      {
        config,
        schema: {
          tags,
          summary: 'Set a new password for the sole owner, with a proven kit',
          body: Type.Object({
            kitId: Id,
            response: Type.String({ maxLength: 200 }),
            password: ClaimRequest.properties.owner.properties.password,
            removeSecondFactors: Type.Optional(Type.Boolean()),
          }),
        },
      },
      (request) => recoverOwner(deps, request.body, request.actor),
    );

    app.post(
      '/console/restores',
      {
        config,
        schema: {
          tags,
          summary: 'Restore the files of a snapshot into a directory of this machine',
          body: DirectoryRestoreRequest,
          response: { 202: Run },
        },
      },
      async (request, reply) =>
        reply.status(202).send(await requestDirectoryRestore(deps, request.actor, request.body)),
    );

    app.get('/console/users', { config, schema: { tags, summary: 'Everybody' } }, async () => ({
      items: await listPeople(deps),
    }));

    app.get('/console/keys', { config, schema: { tags, summary: 'The keyring, in numbers' } }, () =>
      deps.keys.status(),
    );
  };
