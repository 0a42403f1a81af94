/**
 * Makes room for a recovery on a machine that has no owner yet, and starts it afterwards. The volume is still the one whose key
 * lies only in memory: until the recovered appliance has its own unlock ways, a power cut leaves an empty machine that starts over.
 */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError } from '../../lib/errors.ts';
import { readFileIfPresent } from '../../lib/files.ts';
import { NoContent } from '../../lib/shapes.ts';
import { runProcess } from '../../lib/spawn.ts';
import type { HostDeps } from './host-app.ts';
import { ActorRequest, type HostActor } from './schema.ts';
import { memoryKeyPath } from './ways/ways.ts';

/** What uses the data folder, in the order in which it ends. */
const USERS = ['server', 'worker', 'migrate', 'keyd', 'postgres', 'prepare'].map(
  (name) => `holdfast-${name}.service`,
);
const STOP_TIMEOUT_MS = 3 * 60_000;

export interface MachineServices {
  stop(units: readonly string[]): Promise<void>;
  /** Everything that belongs to Holdfast. */
  start(): Promise<void>;
}

export const systemdServices: MachineServices = {
  stop: (units) => systemctl(['stop', ...units]),
  start: () => systemctl(['start', '--no-block', 'holdfast.target']),
};

export interface MachineRecoveryDeps extends Pick<HostDeps, 'places' | 'journal'> {
  services: MachineServices;
  /** HOLDFAST_DATA on this machine. */
  dataDir: string;
}

/** @throws HoldfastError `wrong_state` on a machine whose volume has an owner: nothing of theirs is ever removed here. */
export async function beginRecovery(deps: MachineRecoveryDeps, actor: HostActor): Promise<void> {
  if ((await readFileIfPresent(memoryKeyPath(deps.places))) === undefined) {
    throw new HoldfastError('wrong_state', 'This machine has an owner already', {
      hint: 'A recovery starts on a new machine with an empty data disk. Nothing was changed.',
    });
  }
  await deps.journal.append(actor, { action: 'host.recovery.begun', objectType: 'machine' });
  await deps.services.stop(USERS);
  // An appliance that nobody claimed: made by the start of this machine, and empty.
  const names = await readdir(deps.dataDir).catch(() => [] as string[]);
  for (const name of names) await rm(join(deps.dataDir, name), { recursive: true, force: true });
}

/** Starts what is there: the recovered appliance, or after a recovery that was given up, an empty one. */
export async function endRecovery(deps: MachineRecoveryDeps, actor: HostActor): Promise<void> {
  await deps.journal.append(actor, { action: 'host.recovery.ended', objectType: 'machine' });
  await deps.services.start();
}

export const machineRecoveryRoutes =
  (deps: MachineRecoveryDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    const schema = { body: ActorRequest, response: { 204: NoContent } };
    app.post('/recovery/begin', { schema }, async (request, reply) => {
      await beginRecovery(deps, request.body.actor);
      return reply.status(204).send(null);
    });
    app.post('/recovery/end', { schema }, async (request, reply) => {
      await endRecovery(deps, request.body.actor);
      return reply.status(204).send(null);
    });
  };

async function systemctl(args: string[]): Promise<void> {
  const ended = await runProcess('systemctl', args, { timeoutMs: STOP_TIMEOUT_MS });
  if (ended.exitCode === 0) return;
  throw new HoldfastError('unavailable', 'The services of this machine do not do as they are told', {
    hint: 'Restart the machine, then try again.',
    detail: ended.stderr.slice(-1_000),
  });
}
