/** The machine is lost: a blank one becomes it, from the disk that the backups are on and the recovery kit. */
import { join } from 'node:path';
import { kitToJson } from '../../server/keys/index.ts';
import type { Run } from '../../server/lib/run-schema.ts';
import { callerOf, expectStatus } from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { blankDisk, overlayOf } from './machine.ts';
import { openNetwork } from './network.ts';
import { makeSeed } from './seed.ts';
import { unlockAtPage } from './unlock-steps.ts';
import {
  boot,
  BOOT_LIMIT_MS,
  firstOf,
  isLocked,
  isReady,
  LOOK_EVERY_MS,
  PASSPHRASE,
  secondsSince,
  signInAndFind,
  TARGET_SHARE,
  type Step,
  type Walk,
} from './walk.ts';

/** As Debian installs it. */
const UEFI = '/usr/share/ovmf/OVMF.fd';

export const RECOVERY_STEPS: readonly Step[] = [
  { name: 'recovery onto a blank machine', begins: 'off', act: recover },
  { name: 'power cut, back by itself to the unlock page', act: powerCut },
  { name: 'unlock by its own passphrase at the page', begins: 'locked', act: unlockByPassphrase },
];
export const SNAPSHOT_STEPS: readonly Step[] = [{ name: 'snapshot to the second disk', act: takeSnapshot }];

async function takeSnapshot(walk: Walk): Promise<Record<string, unknown>> {
  const { caller } = firstOf(walk);
  const { id } = await expectStatus(caller.call<Run>('POST', '/snapshots'), 202);
  const run = await waitFor(
    'the snapshot to end',
    async () => {
      const { body } = await caller.call<Run>('GET', `/runs/${id}`);
      return body.finishedAt === null ? undefined : body;
    },
    BOOT_LIMIT_MS,
    LOOK_EVERY_MS,
  );
  if (run.state !== 'succeeded') throw new Error(`The snapshot ${run.state}: ${run.error?.message}`);
  return {};
}

async function recover(walk: Walk): Promise<Record<string, unknown>> {
  const first = firstOf(walk);
  await first.machine.cutPower();
  const [, , target] = first.options.disks;
  if (target === undefined || first.kit === undefined) throw new Error('There is nothing to recover from');
  const network = await openNetwork(2);
  const seed = await makeSeed({
    folder: walk.folder,
    id: 'second',
    tap: network.tap,
    address: network.cidr,
    gateway: network.gateway,
    holdfast: {
      recover: {
        share: TARGET_SHARE,
        kit: kitToJson(first.kit),
        ...{ oldMachineIsOff: true, goLive: true },
        volume: { daily: 'passphrase', passphrase: PASSPHRASE },
      },
    },
  });
  const options = {
    folder: walk.folder,
    disks: [
      await overlayOf(walk.image, join(walk.folder, 'second-system.qcow2')),
      await blankDisk(join(walk.folder, 'second-data.qcow2'), 8),
      target,
    ],
    tap: network.tap,
    seed,
    // The first machine starts by BIOS, this one by UEFI.
    uefi: UEFI,
  };
  const startedAt = performance.now();
  const machine = await boot(walk, options);
  const caller = callerOf(`https://${network.address}`);
  await isReady(network.address);
  const secondsToSignIn = secondsSince(startedAt);
  walk.first = { ...first, network, options, machine, caller };
  await signInAndFind(walk.first);
  return { secondsToSignIn };
}

async function powerCut(walk: Walk): Promise<Record<string, unknown>> {
  const second = firstOf(walk);
  await second.machine.cutPower();
  const startedAt = performance.now();
  second.machine = await boot(walk, second.options);
  await isLocked(second.network.address);
  return { secondsToPage: secondsSince(startedAt) };
}

async function unlockByPassphrase(walk: Walk): Promise<Record<string, unknown>> {
  const second = firstOf(walk);
  const times = await unlockAtPage(second, PASSPHRASE);
  await signInAndFind(second);
  return times;
}
