/**
 * The machine as its administrators see and steer it. hostd does the work and journals who wanted it; the acts are in the audit
 * log when the answer comes.
 */
import type { Actor } from '../audit/index.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import type { Logger } from '../lib/log.ts';
import { connectHost, requireHost } from './host/client.ts';
import type { HostActor, HostState, NewWay, PowerRequest, UnlockWay } from './host/schema.ts';
import { enterHostActs, type HostActDeps } from './host-acts.ts';

export interface HostMachineDeps extends HostActDeps {
  log: Logger;
}

/** A slow machine derives a key in seconds, and tries several slots. */
const WAY_TIMEOUT_MS = 10 * 60_000;

export function readMachine(deps: Pick<HostMachineDeps, 'config'>): Promise<HostState> {
  return requireHost(connectHost(deps.config)).get('/state');
}

export interface VolumeClaim {
  /** Made where the recovery kit is made, and in it. */
  recoveryKey: string;
  daily: NewWay;
}

/** Gives the data volume to its owner. Until then a restart empties it. */
export function claimMachineVolume(
  deps: HostMachineDeps,
  claim: VolumeClaim,
  actor: Actor,
): Promise<{ items: UnlockWay[] }> {
  return perform(deps, 'POST', '/claim-volume', claim, actor, WAY_TIMEOUT_MS);
}

export interface WayAddition {
  way: NewWay;
  openedBy?: string;
}

export function addMachineWay(
  deps: HostMachineDeps,
  addition: WayAddition,
  actor: Actor,
): Promise<UnlockWay> {
  return perform(deps, 'POST', '/ways', addition, actor, WAY_TIMEOUT_MS);
}

export function renameMachineWay(
  deps: HostMachineDeps,
  id: string,
  label: string,
  actor: Actor,
): Promise<UnlockWay> {
  return perform(deps, 'PATCH', `/ways/${id}`, { label }, actor);
}

export function removeMachineWay(deps: HostMachineDeps, id: string, actor: Actor): Promise<void> {
  return perform(deps, 'DELETE', `/ways/${id}`, {}, actor, WAY_TIMEOUT_MS);
}

export function testMachineWay(
  deps: HostMachineDeps,
  id: string,
  secret: string | undefined,
  actor: Actor,
): Promise<UnlockWay> {
  return perform(
    deps,
    'POST',
    `/ways/${id}/test`,
    secret === undefined ? {} : { secret },
    actor,
    WAY_TIMEOUT_MS,
  );
}

export function removeUnknownKeyslots(deps: HostMachineDeps, actor: Actor): Promise<void> {
  return perform(deps, 'DELETE', '/unknown-keyslots', {}, actor, WAY_TIMEOUT_MS);
}

export function growMachineVolume(
  deps: HostMachineDeps,
  openedBy: string | undefined,
  actor: Actor,
): Promise<void> {
  return perform(
    deps,
    'POST',
    '/volume/grow',
    openedBy === undefined ? {} : { openedBy },
    actor,
    WAY_TIMEOUT_MS,
  );
}

/** @returns when the machine is about to go down. */
export function switchMachine(
  deps: HostMachineDeps,
  action: PowerRequest['action'],
  actor: Actor,
): Promise<void> {
  return perform(deps, 'POST', '/power', { action }, actor);
}

/** @throws HoldfastError `wrong_state` while the machine's data volume has no owner; elsewhere there is none to have one. */
export async function requireOwnedVolume(deps: Pick<HostMachineDeps, 'config'>): Promise<void> {
  const host = connectHost(deps.config);
  if (host === undefined) return;
  const { volume } = await host.get<HostState>('/state');
  if (volume.state !== 'unclaimed') return;
  throw new HoldfastError('wrong_state', 'The data volume of this machine has no owner yet', {
    hint: 'Give it its recovery key and a way for every day first: until then a restart empties it.',
  });
}

export function hostActor(actor: Actor): HostActor {
  const { kind, id, label, address } = actor;
  return {
    kind,
    ...(id === undefined ? {} : { id }),
    ...(label === undefined ? {} : { label: label.slice(0, 64) }),
    ...(address === undefined ? {} : { address: address.slice(0, 64) }),
  };
}

/** Has hostd do something, and enters in the audit log what its journal then says. */
export async function perform<T>(
  deps: HostMachineDeps,
  method: 'POST' | 'PUT' | 'PATCH' | 'DELETE',
  path: string,
  body: object,
  actor: Actor,
  timeoutMs?: number,
): Promise<T> {
  const host = requireHost(connectHost(deps.config));
  try {
    return await host.send<T>(method, path, { ...body, actor: hostActor(actor) }, timeoutMs);
  } finally {
    // What is not entered now waits in the journal and is entered within a minute.
    await enterHostActs(deps).catch((error: unknown) =>
      deps.log.warn({ err: error }, `The machine's journal could not be taken over: ${messageOf(error)}`),
    );
  }
}
