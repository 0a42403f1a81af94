/** The walk through an appliance's life, in order: each step finds the machine as the one before left it. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { request } from 'node:https';
import { callerOf, expectStatus } from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { ageRecipientOf, generateAgeIdentity } from '../../server/keys/index.ts';
import { diskHolds } from './canary.ts';
import { blankDisk, overlayOf, startMachine, type MachineOptions, type VirtualMachine } from './machine.ts';
import { openNetwork, openPorts, type MachineNetwork } from './network.ts';
import { makeSeed } from './seed.ts';

/** What steps hand on to those after them. */
export interface Walk {
  folder: string;
  image: string;
  /** All that were started, the newest last. */
  machines: VirtualMachine[];
  first?: FirstMachine;
}

interface FirstMachine {
  network: MachineNetwork;
  options: MachineOptions;
  machine: VirtualMachine;
  caller: ReturnType<typeof callerOf>;
  canary: string;
}

interface Step {
  name: string;
  act: (walk: Walk) => Promise<Record<string, unknown> | undefined>;
}

/** Words that stand nowhere in the image: found on a disk, they came from this machine's use. */
const mark = randomBytes(6).toString('hex');
const OWNER = {
  name: `Ada ${mark}`,
  email: `ada-${mark}@example.org`,
  password: `stable horse with ${mark} batteries`,
};
const PASSPHRASE = `seven boats under a green moon ${mark}`;
/** Far more than an idle machine needs: several may share two cores. */
const BOOT_LIMIT_MS = 1_200_000;

export const STEPS: readonly Step[] = [
  { name: 'first boot by config', act: firstBoot },
  { name: 'open ports', act: portScan },
  { name: 'data in', act: putData },
  { name: 'idle memory', act: idleMemory },
  { name: 'nothing readable on the disks', act: scanDisks },
  { name: 'restart: locked, and a wrong key stays out', act: restartLocked },
  { name: 'unlock by passphrase at the page', act: unlockByPassphrase },
  { name: 'power cut, back by itself to the unlock page', act: powerCut },
];

async function firstBoot(walk: Walk): Promise<Record<string, unknown>> {
  const network = await openNetwork(1);
  const { identity } = await generateAgeIdentity();
  const seed = await makeSeed({
    folder: walk.folder,
    id: 'first',
    tap: network.tap,
    address: network.cidr,
    gateway: network.gateway,
    holdfast: {
      setup: {
        owner: { name: OWNER.name, email: OWNER.email, password: OWNER.password },
        appliance: { name: 'Vault', stage: 'development', region: 'eu-north', allowedRegions: ['eu-north'] },
        kit: { recipient: await ageRecipientOf(identity), file: '/data/recovery-kit.age' },
        volume: { daily: 'passphrase', passphrase: PASSPHRASE },
        target: { name: 'here', kind: 'directory', path: '/data/holdfast/local-target', region: 'eu-north' },
      },
    },
  });
  const options: MachineOptions = {
    folder: walk.folder,
    disks: [
      await overlayOf(walk.image, join(walk.folder, 'first-system.qcow2')),
      await blankDisk(join(walk.folder, 'first-data.qcow2'), 8),
    ],
    tap: network.tap,
    seed,
    tpmState: join(walk.folder, 'first-tpm'),
  };
  const startedAt = performance.now();
  const machine = await boot(walk, options);
  const caller = callerOf(`https://${network.address}`);
  walk.first = { network, options, machine, caller, canary: `canary-${randomBytes(16).toString('hex')}` };
  await isReady(network.address);
  return { secondsToSignIn: secondsSince(startedAt) };
}

async function portScan(walk: Walk): Promise<Record<string, unknown>> {
  const { network } = firstOf(walk);
  const ports = await openPorts(network.address);
  const unwanted = ports.filter((port) => ![80, 443].includes(port));
  if (unwanted.length > 0 || !ports.includes(443)) throw new Error(`Open ports: ${ports.join(', ')}`);
  return { ports };
}

async function putData(walk: Walk): Promise<Record<string, unknown>> {
  const { caller, canary } = firstOf(walk);
  await waitFor(
    'the set-up by file to be over',
    async () => {
      const { status } = await caller.call('POST', '/session', {
        email: OWNER.email,
        password: OWNER.password,
      });
      return status === 201;
    },
    BOOT_LIMIT_MS,
  );
  const { items } = await expectStatus(
    caller.call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces'),
    200,
  );
  const folder = items[0]?.rootFolderId ?? '';
  const content = contentOf(canary);
  await expectStatus(caller.call('PUT', `/folders/${folder}/files?name=${canary}.txt`, content), 201);
  return { bytes: content.length };
}

const IDLE_LIMIT_MIB = 700;

/** Caches count as free: what is measured is what the processes and the kernel hold. */
async function idleMemory(walk: Walk): Promise<Record<string, unknown>> {
  const usedMib = await firstOf(walk).machine.usedMib();
  if (usedMib > IDLE_LIMIT_MIB) throw new Error(`${usedMib} MiB are in use`);
  return { usedMib };
}

/** The machine still runs: what it has not written yet is not on the disks, so it is shut down first. */
async function scanDisks(walk: Walk): Promise<Record<string, unknown>> {
  const first = firstOf(walk);
  await first.machine.shutDown(180_000);
  const found: string[] = [];
  for (const disk of first.options.disks) {
    for (const words of [first.canary, PASSPHRASE, OWNER.password, OWNER.email]) {
      if (await diskHolds(disk, walk.folder, Buffer.from(words))) found.push(`${words} on ${disk}`);
    }
  }
  if (found.length > 0) throw new Error(`Readable on a disk: ${found.join('; ')}`);
  return { disks: first.options.disks.length };
}

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

async function unlockByPassphrase(walk: Walk): Promise<Record<string, unknown>> {
  const first = firstOf(walk);
  const startedAt = performance.now();
  const form = new URLSearchParams({ key: PASSPHRASE }).toString();
  const { status } = await exchange(first.network.address, 'POST', '/unlock', form);
  if (status !== 200) throw new Error(`The passphrase was answered with ${status}`);
  const secondsToOpen = secondsSince(startedAt);
  await isReady(first.network.address);
  await signInAndFind(first);
  return { secondsToOpen, secondsToSignIn: secondsSince(startedAt) };
}

async function powerCut(walk: Walk): Promise<Record<string, unknown>> {
  const first = firstOf(walk);
  await first.machine.cutPower();
  const startedAt = performance.now();
  first.machine = await boot(walk, first.options);
  await isLocked(first.network.address);
  const secondsToPage = secondsSince(startedAt);
  await unlockByPassphrase(walk);
  return { secondsToPage };
}

/** The file that was put in before is there, byte for byte. */
async function signInAndFind({ caller, canary }: FirstMachine): Promise<void> {
  await expectStatus(caller.call('POST', '/session', { email: OWNER.email, password: OWNER.password }), 201);
  const { items } = await expectStatus(
    caller.call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces'),
    200,
  );
  const { items: nodes } = await expectStatus(
    caller.call<{ items: { id: string; name: string }[] }>('GET', `/folders/${items[0]?.rootFolderId ?? ''}`),
    200,
  );
  const file = nodes.find((node) => node.name === `${canary}.txt`);
  if (file === undefined) throw new Error('The file that was uploaded is gone');
  const { body } = await caller.call<Buffer>('GET', `/files/${file.id}/content`);
  if (!body.equals(contentOf(canary))) throw new Error('The file that was uploaded has changed');
}

function contentOf(canary: string): Buffer {
  return Buffer.from(`${canary}\n`.repeat(1_000));
}

function secondsSince(startedAt: number): number {
  return Math.round((performance.now() - startedAt) / 100) / 10;
}

async function isLocked(address: string): Promise<void> {
  await waitFor(
    'the unlock page',
    async () => {
      const { status, text } = await exchange(address, 'GET', '/health');
      return status === 503 && text.includes('locked');
    },
    BOOT_LIMIT_MS,
  );
}

async function boot(walk: Walk, options: MachineOptions): Promise<VirtualMachine> {
  const machine = await startMachine(options);
  walk.machines.push(machine);
  return machine;
}

async function isReady(address: string): Promise<void> {
  await waitFor(
    'the sign-in page',
    async () => (await exchange(address, 'GET', '/health/ready')).status === 200,
    BOOT_LIMIT_MS,
  );
}

/** Status 0 when nothing answers. */
function exchange(
  host: string,
  method: string,
  path: string,
  form?: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve) => {
    const headers = form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' };
    const sent = request(
      { host, path, method, headers, rejectUnauthorized: false, timeout: 60_000, agent: false },
      (reply) => {
        let text = '';
        reply.setEncoding('utf8').on('data', (part: string) => (text += part));
        reply.on('error', () => resolve({ status: 0, text }));
        reply.on('end', () => resolve({ status: reply.statusCode ?? 0, text }));
      },
    );
    sent.on('timeout', () => sent.destroy(new Error('slow')));
    sent.on('error', () => resolve({ status: 0, text: '' }));
    sent.end(form);
  });
}

function firstOf(walk: Walk): FirstMachine {
  if (walk.first === undefined) throw new Error('There is no first machine');
  return walk.first;
}
