/** What the steps of the walk share: the machines, and how they are booted, asked and looked at. */
import { randomBytes } from 'node:crypto';
import { request } from 'node:https';
import { join } from 'node:path';
import type { RecoveryKit } from '../../server/keys/index.ts';
import { callerOf, expectStatus } from '../helpers/served-appliance.ts';
import { originOf, signInAs } from '../helpers/sign-in.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { startMachine, type MachineOptions, type VirtualMachine } from './machine.ts';
import { openNetwork, type MachineNetwork } from './network.ts';

/** What steps hand on to those after them. */
export interface Walk {
  folder: string;
  image: string;
  /** Where the image was built: its authority signs the updates of the walk. */
  imageWork: string;
  /** Whether machines get a second serial line. */
  debug: boolean;
  /** All that were started, the newest last. */
  machines: VirtualMachine[];
  first?: FirstMachine;
}

export interface FirstMachine {
  network: MachineNetwork;
  options: MachineOptions;
  machine: VirtualMachine;
  caller: Caller;
  canary: string;
  /** Opens the sealed recovery kit. */
  operatorKey: string;
  kit?: RecoveryKit;
}

/** What a later walk needs to go on from here with the same disks. */
export interface WalkNote {
  mark: string;
  canary: string;
  operatorKey: string;
  kit?: RecoveryKit;
  disks: readonly string[];
  networkNumber: number;
  seed?: string;
}

export function noteWalk({ first }: Walk): WalkNote | undefined {
  if (first === undefined) return undefined;
  const { canary, operatorKey, kit, options, network } = first;
  return {
    ...{ mark, canary, operatorKey, disks: options.disks, networkNumber: network.number },
    ...(kit === undefined ? {} : { kit }),
    ...(options.seed === undefined ? {} : { seed: options.seed }),
  };
}

/** Starts the machine of an earlier walk again, as after a power cut, and leaves it as the next step wants it. */
export async function resumeWalk(walk: Walk, note: WalkNote, begins: Step['begins']): Promise<void> {
  const network = await openNetwork(note.networkNumber);
  const options: MachineOptions = {
    ...{ folder: walk.folder, disks: note.disks, tap: network.tap, tpmState: join(walk.folder, 'first-tpm') },
    ...(note.seed === undefined ? {} : { seed: note.seed }),
  };
  const machine = await boot(walk, options);
  const caller = callerOf(`https://${network.address}`);
  const { canary, operatorKey, kit } = note;
  walk.first = {
    network,
    options,
    machine,
    caller,
    canary,
    operatorKey,
    ...(kit === undefined ? {} : { kit }),
  };
  if (begins === 'off') return machine.cutPower();
  const health = () => exchange(network.address, 'GET', '/health');
  await waitFor('an answer', async () => (await health()).status !== 0, BOOT_LIMIT_MS, LOOK_EVERY_MS);
  if (begins === 'locked') return;
  if ((await health()).text.includes('locked')) {
    const form = new URLSearchParams({ key: PASSPHRASE }).toString();
    await exchange(network.address, 'POST', '/unlock', form);
  }
  await isReady(network.address);
  await signIn(caller);
}

export type Caller = ReturnType<typeof callerOf>;

export interface Step {
  name: string;
  /** What it finds: the machine at its unlock page, or turned off; without this somebody has signed in. */
  begins?: 'locked' | 'off';
  act: (walk: Walk) => Promise<Record<string, unknown> | undefined>;
}

/** Words that stand nowhere in the image: found on a disk, they came from this machine's use. */
const mark = process.env.WALK_MARK ?? randomBytes(6).toString('hex');
export const OWNER = {
  name: `Ada ${mark}`,
  email: `ada-${mark}@example.org`,
  password: `stable horse with ${mark} batteries`,
};
export const PASSPHRASE = `seven boats under a green moon ${mark}`;
/** Of the disk that backups go to. */
export const TARGET_DISK = '5fdf03b8-0ccd-499c-bfbb-79ca1057ac38';
export const TARGET_SHARE = { label: 'Second disk', place: { kind: 'disk', uuid: TARGET_DISK } };
/** Far more than an idle machine needs: several may share two cores. */
export const BOOT_LIMIT_MS = 1_200_000;
/** An emulated machine is kept busy by questions that come without a pause. */
export const LOOK_EVERY_MS = 1_000;

/** The file that was put in before is there, byte for byte. */
export async function signInAndFind({
  caller,
  canary,
}: Pick<FirstMachine, 'caller' | 'canary'>): Promise<void> {
  await signIn(caller);
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

export async function signIn(caller: Caller): Promise<void> {
  await signInAs(caller.call, originOf(caller.url), OWNER);
}

export function contentOf(canary: string): Buffer {
  return Buffer.from(`${canary}\n`.repeat(1_000));
}

export function secondsSince(startedAt: number): number {
  return Math.round((performance.now() - startedAt) / 100) / 10;
}

export async function isLocked(address: string): Promise<void> {
  await waitFor(
    'the unlock page',
    async () => {
      const { status, text } = await exchange(address, 'GET', '/health');
      return status === 503 && text.includes('locked');
    },
    BOOT_LIMIT_MS,
    LOOK_EVERY_MS,
  );
}

export async function boot(walk: Walk, options: MachineOptions): Promise<VirtualMachine> {
  const machine = await startMachine({ ...options, debug: walk.debug });
  walk.machines.push(machine);
  return machine;
}

export async function isReady(address: string): Promise<void> {
  await waitFor(
    'the sign-in page',
    async () => (await exchange(address, 'GET', '/health/ready')).status === 200,
    BOOT_LIMIT_MS,
    LOOK_EVERY_MS,
  );
}

/** Status 0 when nothing answers. */
export function exchange(
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

export function firstOf(walk: Walk): FirstMachine {
  if (walk.first === undefined) throw new Error('There is no first machine');
  return walk.first;
}
