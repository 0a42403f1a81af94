/** The ways to open the data volume, each on a machine that was started anew. */
import { expectStatus } from '../helpers/served-appliance.ts';
import { openPorts } from './network.ts';
import {
  boot,
  BOOT_LIMIT_MS,
  exchange,
  firstOf,
  isLocked,
  isReady,
  PASSPHRASE,
  secondsSince,
  signIn,
  signInAndFind,
  type FirstMachine,
  type Step,
  type Walk,
} from './walk.ts';

export const UNLOCK_STEPS: readonly Step[] = [
  { name: 'started again: locked, and a wrong key stays out', begins: 'off', act: startLocked },
  { name: 'unlock by the recovery key of the kit', begins: 'locked', act: unlockByRecoveryKey },
];
export const TPM_STEPS: readonly Step[] = [
  { name: 'shut down, started: opened by the TPM alone', act: unlockByTpm },
];

async function startLocked(walk: Walk): Promise<Record<string, unknown>> {
  const first = firstOf(walk);
  const startedAt = performance.now();
  first.machine = await boot(walk, first.options);
  await isLocked(first.network.address);
  const secondsToPage = secondsSince(startedAt);
  const { status } = await exchange(
    first.network.address,
    'POST',
    '/unlock',
    'key=not+the+key+of+this+machine',
  );
  if (status < 400) throw new Error(`A wrong key was answered with ${status}`);
  await isLocked(first.network.address);
  const unwanted = (await openPorts(first.network.address)).filter((port) => port !== 443);
  if (unwanted.length > 0) throw new Error(`Open while locked: ${unwanted.join(', ')}`);
  return { secondsToPage, wrongKeyStatus: status };
}

async function unlockByRecoveryKey(walk: Walk): Promise<Record<string, unknown>> {
  const first = firstOf(walk);
  const times = await unlockAtPage(first, first.kit?.volumeRecoveryKey ?? '');
  await signInAndFind(first);
  // The menu waits for a line; it was made while the volume was locked.
  first.machine.type('\r');
  await first.machine.serialSays(/\nReady\r?\n/, 60_000);
  return times;
}

/** @returns seconds until the volume was open, and until somebody could sign in. */
export async function unlockAtPage(
  { network: { address } }: Pick<FirstMachine, 'network'>,
  key: string,
): Promise<{ secondsToOpen: number; secondsToSignIn: number }> {
  const startedAt = performance.now();
  const form = new URLSearchParams({ key }).toString();
  const { status } = await exchange(address, 'POST', '/unlock', form);
  if (status !== 200) throw new Error(`The key was answered with ${status}`);
  const secondsToOpen = secondsSince(startedAt);
  await isReady(address);
  return { secondsToOpen, secondsToSignIn: secondsSince(startedAt) };
}

async function unlockByTpm(walk: Walk): Promise<Record<string, unknown>> {
  const first = firstOf(walk);
  const { caller, network } = first;
  await signIn(caller);
  const way = { kind: 'tpm2', label: 'TPM' };
  await expectStatus(caller.call('POST', '/host/ways', { way, openedBy: PASSPHRASE }), 201);
  const askedAt = performance.now();
  await expectStatus(caller.call('POST', '/host/power', { action: 'shutdown' }), 202);
  await first.machine.wentDown(BOOT_LIMIT_MS);
  const secondsToGoDown = secondsSince(askedAt);
  const startedAt = performance.now();
  first.machine = await boot(walk, first.options);
  await isReady(network.address);
  const secondsToSignIn = secondsSince(startedAt);
  await signInAndFind(first);
  return { secondsToGoDown, secondsToSignIn };
}
