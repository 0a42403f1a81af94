/**
 * A lost appliance comes back: the first run of a machine that has no owner, where it is recovered instead of set up. Open only until
 * somebody owns it, and to whoever has the claim code. hostd does the work; without it, this says how the command does.
 */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { parseRecoveryKit } from '../keys/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { NoContent } from '../lib/shapes.ts';
import { checkClaimCode, type ClaimDeps } from './claim.ts';
import { connectHost, requireHost } from './host/client.ts';
import { LookAnswer, LookRequest, RecoveryStatus, StartRecoveryRequest } from './host/recovery/schema.ts';
import type { HostState } from './host/schema.ts';
import { hostActor, type HostMachineDeps } from './host-machine.ts';
import { ClaimCode } from './schema.ts';

const tags = ['recovery'];
const strict = { additionalProperties: false };
const coded = { code: ClaimCode };
const LookBody = Type.Object({ ...coded, ...Type.Omit(LookRequest, ['actor']).properties }, strict);
const StartBody = Type.Object({ ...coded, ...Type.Omit(StartRecoveryRequest, ['actor']).properties }, strict);
const RecoveryOffer = Type.Object({
  /** True on the machine image. Elsewhere `holdfast recover` does it, and the rest of this says nothing. */
  machine: Type.Boolean(),
  /** A TPM can open the volume every day. */
  tpm: Type.Boolean(),
  status: RecoveryStatus,
});

/** A repository with many snapshots on a slow share; mounting comes before. */
const LOOK_TIMEOUT_MS = 14 * 60_000;
const NOTHING: RecoveryStatus = {
  ...{
    act: 'recovery',
    dataFrom: null,
    state: 'none',
    step: null,
    bytesDone: 0,
    bytesTotal: null,
    filesDone: 0,
  },
  ...{ startedAt: null, endedAt: null, problem: null },
};

export const recoveryRoutes =
  (deps: ClaimDeps & HostMachineDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/setup/recovery',
      {
        config: { access: 'setup', background: true },
        schema: {
          tags,
          summary: 'Whether this machine can become an appliance that was lost, and how far that is',
          response: { 200: RecoveryOffer },
        },
      },
      async () => {
        const host = connectHost(deps.config);
        if (host === undefined) return { machine: false, tpm: false, status: NOTHING };
        const [{ tpm }, status] = await Promise.all([
          host.get<HostState>('/state'),
          host.get<RecoveryStatus>('/recovery'),
        ]);
        return { machine: true, tpm, status };
      },
    );

    app.post(
      '/setup/recovery/look',
      {
        config: { access: 'setup' },
        schema: {
          tags,
          summary: 'What backups lie in a place; with the recovery kit, which snapshots',
          body: LookBody,
          response: { 200: LookAnswer },
        },
      },
      async (request) => {
        const { code, ...wanted } = request.body;
        await checkClaimCode(deps, code, request.actor);
        if (wanted.kit !== undefined) requireWholeKit(wanted.kit);
        return requireHost(connectHost(deps.config)).send<LookAnswer>(
          'POST',
          '/recovery/look',
          { ...wanted, actor: hostActor(request.actor) },
          LOOK_TIMEOUT_MS,
        );
      },
    );

    app.post(
      '/setup/recovery',
      {
        config: { access: 'setup' },
        schema: {
          tags,
          summary: 'Recover an appliance onto this machine. This server stops meanwhile',
          body: StartBody,
          response: { 202: NoContent },
        },
      },
      async (request, reply) => {
        const { code, ...wanted } = request.body;
        await checkClaimCode(deps, code, request.actor);
        const kit = requireWholeKit(wanted.kit);
        if (kit.volumeRecoveryKey === null) {
          throw new HoldfastError('invalid_input', 'This recovery kit has no key for the data volume', {
            hint: 'The page makes one and puts it into the kit; keep that kit, then start.',
          });
        }
        await requireHost(connectHost(deps.config)).send(
          'POST',
          '/recovery/start',
          { ...wanted, actor: hostActor(request.actor) },
          LOOK_TIMEOUT_MS,
        );
        return reply.status(202).send(null);
      },
    );
  };

/** @throws HoldfastError `invalid_input` that says what is wrong with it, and never holds what was given. */
function requireWholeKit(text: string) {
  const { kit } = parseRecoveryKit(text);
  if (kit !== undefined) return kit;
  throw new HoldfastError('invalid_input', 'This is only the secret key of a recovery kit', {
    hint: 'Give the whole kit: it also says which repository to trust.',
  });
}
