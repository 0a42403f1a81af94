/**
 * Makes room for a recovery on a machine that has no owner yet, and starts it afterwards. The volume is still the one whose key
 * lies only in memory: until the recovered appliance has its own unlock ways, a power cut leaves an empty machine that starts over,
 * and so does a recovery that fails. While it runs, the recovery page answers in place of the server, with the same certificate.
 */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Type } from 'typebox';
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { readFileIfPresent } from '../../lib/files.ts';
import { NoContent } from '../../lib/shapes.ts';
import { RecoveryProblem, RecoveryProgress, RecoveryStatus } from './recovery/schema.ts';
import { clearStage, leaveStage, showPage, type StageDeps } from './recovery/stage.ts';
import { noteProgress, noteStarted, readRecoveryStatus } from './recovery/status.ts';
import { readRecoveryRequest } from './recovery/wanted.ts';
import { ActorRequest, HostActor } from './schema.ts';
import { readVolumeNote } from './volume/note.ts';
import { readWays } from './ways/file.ts';
import { memoryKeyPath } from './ways/ways.ts';

/** @throws HoldfastError `wrong_state` on a machine whose volume has an owner: nothing of theirs is ever removed here. */
export async function beginRecovery(deps: StageDeps, actor: HostActor): Promise<void> {
  await requireBlank(deps);
  await noteStarted(deps);
  await clearStage(deps);
  // Only now: the database of the blank appliance, which goes, would have taken these acts with it.
  const wanted = await readRecoveryRequest(deps.places);
  const volume = await readVolumeNote(deps.places);
  await deps.journal.append(wanted?.actor ?? actor, {
    action: 'host.recovery.begun',
    objectType: 'machine',
    detail: {
      ...(wanted === undefined ? {} : { place: wanted.place, snapshot: wanted.snapshot }),
      ...(volume === undefined ? {} : { volumeUuid: volume.uuid, device: volume.device }),
    },
  });
  crashPoint('host.recovery.journaled');
  await emptyFolder(deps.dataDir);
  await showPage(deps);
}

/**
 * Starts what is there: the recovered appliance; with a problem, an empty one.
 *
 * @param problem why the recovery was given up.
 */
export async function endRecovery(
  deps: StageDeps,
  actor: HostActor,
  problem?: RecoveryProblem,
): Promise<void> {
  await deps.journal.append(actor, {
    action: 'host.recovery.ended',
    objectType: 'machine',
    ...(problem === undefined ? {} : { result: 'failed' as const, detail: { message: problem.message } }),
  });
  if (problem !== undefined && (await isBlank(deps))) await emptyFolder(deps.dataDir);
  await leaveStage(deps, problem);
}

/** Nobody owns what lies on this machine: its volume's only key lies in memory. */
export async function isBlank({ places }: Pick<StageDeps, 'places'>): Promise<boolean> {
  if ((await readFileIfPresent(memoryKeyPath(places))) === undefined) return false;
  return (await readWays(places)) === undefined;
}

/** @throws HoldfastError `wrong_state` */
export async function requireBlank(deps: Pick<StageDeps, 'places'>): Promise<void> {
  if (await isBlank(deps)) return;
  throw new HoldfastError('wrong_state', 'This machine has an owner already', {
    hint: 'A recovery starts on a new machine with an empty data disk. Nothing was changed.',
  });
}

export const machineRecoveryRoutes =
  (deps: StageDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    const none = { response: { 204: NoContent } };
    app.post('/recovery/begin', { schema: { body: ActorRequest, ...none } }, async (request, reply) => {
      await beginRecovery(deps, request.body.actor);
      return reply.status(204).send(null);
    });
    app.post(
      '/recovery/progress',
      { schema: { body: RecoveryProgress, ...none } },
      async (request, reply) => {
        await noteProgress(deps, request.body);
        return reply.status(204).send(null);
      },
    );
    const End = Type.Object(
      { actor: HostActor, problem: Type.Optional(RecoveryProblem) },
      { additionalProperties: false },
    );
    app.post('/recovery/end', { schema: { body: End, ...none } }, async (request, reply) => {
      await endRecovery(deps, request.body.actor, request.body.problem);
      return reply.status(204).send(null);
    });
    app.get('/recovery', { schema: { response: { 200: RecoveryStatus } } }, () =>
      readRecoveryStatus(deps.places),
    );
  };

async function emptyFolder(dataDir: string): Promise<void> {
  const names = await readdir(dataDir).catch(() => [] as string[]);
  for (const name of names) await rm(join(dataDir, name), { recursive: true, force: true });
}
