/** A machine's first hours: set-up by file, its ports, data, memory, and what somebody who takes its disks away can read. */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  ageRecipientOf,
  decryptAge,
  generateAgeIdentity,
  parseRecoveryKit,
} from '../../server/keys/index.ts';
import { callerOf, expectStatus } from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { takeDisk, wordsInFile } from './canary.ts';
import { blankDisk, diskWithFileSystem, overlayOf, type MachineOptions } from './machine.ts';
import { openNetwork, openPorts } from './network.ts';
import { makeSeed } from './seed.ts';
import {
  boot,
  BOOT_LIMIT_MS,
  LOOK_EVERY_MS,
  contentOf,
  firstOf,
  isReady,
  signIn,
  OWNER,
  PASSPHRASE,
  secondsSince,
  TARGET_DISK,
  TARGET_SHARE,
  type Step,
  type Walk,
} from './walk.ts';

export const FIRST_STEPS: readonly Step[] = [
  { name: 'first boot by config', act: firstBoot },
  { name: 'open ports', act: portScan },
  { name: 'data in', act: putData },
  { name: 'recovery kit fetched and opened', act: fetchKit },
  { name: 'idle memory', act: idleMemory },
  { name: 'shut down: nothing readable on the disks', act: scanDisks },
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
        kit: { recipient: await ageRecipientOf(identity) },
        volume: { daily: 'passphrase', passphrase: PASSPHRASE },
        share: TARGET_SHARE,
        target: { name: 'second disk', kind: 'directory', region: 'eu-north' },
      },
    },
  });
  const options: MachineOptions = {
    folder: walk.folder,
    disks: [
      await overlayOf(walk.image, join(walk.folder, 'first-system.qcow2')),
      await blankDisk(join(walk.folder, 'first-data.qcow2'), 8),
      await diskWithFileSystem(join(walk.folder, 'target.qcow2'), 4, TARGET_DISK),
    ],
    tap: network.tap,
    seed,
    tpmState: join(walk.folder, 'first-tpm'),
  };
  const startedAt = performance.now();
  const machine = await boot(walk, options);
  const caller = callerOf(`https://${network.address}`);
  walk.first = {
    network,
    options,
    machine,
    caller,
    canary: `canary-${randomBytes(16).toString('hex')}`,
    operatorKey: identity,
  };
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
      const { email, password } = OWNER;
      return (await caller.call('POST', '/session', { email, password })).status === 201;
    },
    BOOT_LIMIT_MS,
    LOOK_EVERY_MS,
  );
  await signIn(caller);
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

interface KitRow {
  id: string;
  sealedCopy: boolean;
}

/** As the operator does who set the machine up by file. */
async function fetchKit(walk: Walk): Promise<Record<string, unknown>> {
  const first = firstOf(walk);
  const kit = await waitFor(
    'the recovery kit',
    async () => {
      const { body } = await first.caller.call<{ items: KitRow[] }>('GET', '/recovery-kits');
      return body.items.find((row) => row.sealedCopy);
    },
    BOOT_LIMIT_MS,
    LOOK_EVERY_MS,
  );
  const path = `/recovery-kits/${kit.id}/sealed`;
  const sealed = await expectStatus(first.caller.call<Buffer>('GET', path), 200);
  const opened = parseRecoveryKit((await decryptAge(sealed, [first.operatorKey])).toString('utf8'));
  if (opened.kit?.volumeRecoveryKey == null) throw new Error('The kit holds no recovery key of the volume');
  first.kit = opened.kit;
  await expectStatus(first.caller.call('DELETE', path), 204);
  await waitFor(
    'the set-up by file to be over',
    async () => {
      const { body } = await first.caller.call<{ items: unknown[] }>('GET', '/targets');
      return body.items.length === 1;
    },
    BOOT_LIMIT_MS,
    LOOK_EVERY_MS,
  );
  return { targets: opened.kit.targets.length };
}

/** The machine still runs: what it has not written yet is not on the disks, so it is shut down first. */
/** Stands on an encrypted disk for everybody to read: who looks for words finds it. */
const READABLE = 'holdfast-data';

async function scanDisks(walk: Walk): Promise<Record<string, unknown>> {
  const { machine, options, canary } = firstOf(walk);
  const startedAt = performance.now();
  await machine.shutDown(180_000);
  const secondsToGoDown = secondsSince(startedAt);
  const taken = await Promise.all(options.disks.map((disk) => takeDisk(disk, walk.folder)));
  const found: string[] = [];
  const secrets = [canary, PASSPHRASE, OWNER.password, OWNER.email];
  let controls = 0;
  for (const disk of taken) {
    const readable = await wordsInFile(disk, [...secrets, READABLE]);
    if (readable.includes(READABLE)) controls += 1;
    found.push(...readable.filter((word) => word !== READABLE).map((word) => `${word} on ${disk}`));
    rmSync(disk);
  }
  if (found.length > 0) throw new Error(`Readable on a disk: ${found.join('; ')}`);
  if (controls === 0) throw new Error(`Not even ${READABLE} was found on a disk: nothing is shown`);
  return { disks: taken.length, secondsToGoDown };
}
