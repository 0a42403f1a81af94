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
  type Step,
  type Walk,
} from './walk.ts';

export const UNLOCK_STEPS: readonly Step[] = [
  { name: 'restart: locked, and a wrong key stays out', act: restartLocked },
  { name: 'unlock by passphrase at the page', begins: 'locked', act: unlockByPassphrase },
  { name: 'power cut, back by itself to the unlock page', act: powerCut },
  { name: 'unlock by the recovery key of the kit', begins: 'locked', act: unlockByRecoveryKey },
  { name: 'shut down, started: opened by the TPM alone', act: unlockByTpm },
];

async function restartLocked(walk: Walk): Promise<Record<string, unknown>> {
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

function unlockByPassphrase(walk: Walk): Promise<Record<string, unknown>> {
  return unlockWith(walk, PASSPHRASE);
}

function unlockByRecoveryKey(walk: Walk): Promise<Record<string, unknown>> {
  return unlockWith(walk, firstOf(walk).kit?.volumeRecoveryKey ?? '');
}

async function unlockWith(walk: Walk, key: string): Promise<Record<string, unknown>> {
  const first = firstOf(walk);
  const startedAt = performance.now();
  const form = new URLSearchParams({ key }).toString();
  const { status } = await exchange(first.network.address, 'POST', '/unlock', form);
  if (status !== 200) throw new Error(`The key was answered with ${status}`);
  const secondsToOpen = secondsSince(startedAt);
  await isReady(first.network.address);
  const secondsToSignIn = secondsSince(startedAt);
  await signInAndFind(first);
  return { secondsToOpen, secondsToSignIn };
}

async function powerCut(walk: Walk): Promise<Record<string, unknown>> {
  const first = firstOf(walk);
  await first.machine.cutPower();
  const startedAt = performance.now();
  first.machine = await boot(walk, first.options);
  await isLocked(first.network.address);
  return { secondsToPage: secondsSince(startedAt) };
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
