/** The machine is lost: a blank one becomes it, from the disk that the backups are on and the recovery kit. */
import { join } from 'node:path';
import { kitToJson } from '../../server/keys/index.ts';
import { callerOf } from '../helpers/served-appliance.ts';
import { blankDisk, overlayOf } from './machine.ts';
import { openNetwork } from './network.ts';
import { makeSeed } from './seed.ts';
import {
  boot,
  exchange,
  firstOf,
  isLocked,
  isReady,
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
  { name: 'the recovered machine restarts and opens with its own passphrase', act: restartRecovered },
];

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
        oldMachineIsOff: true,
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

async function restartRecovered(walk: Walk): Promise<Record<string, unknown>> {
  const second = firstOf(walk);
  await second.machine.cutPower();
  const startedAt = performance.now();
  second.machine = await boot(walk, second.options);
  await isLocked(second.network.address);
  const form = new URLSearchParams({ key: PASSPHRASE }).toString();
  const { status } = await exchange(second.network.address, 'POST', '/unlock', form);
  if (status !== 200) throw new Error(`The passphrase was answered with ${status}`);
  await isReady(second.network.address);
  await signInAndFind(second);
  return { secondsToSignIn: secondsSince(startedAt) };
}
