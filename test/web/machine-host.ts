/**
 * A machine under the appliance, for the console's tests: the real application of hostd on a real socket, in this process. Its disk
 * is an image file and its slots are a file too; only what a kernel would do is replaced.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { hardeningRoutes } from '../../server/appliance/host/hardening/routes.ts';
import { buildHostApp } from '../../server/appliance/host/host-app.ts';
import { networkRoutes } from '../../server/appliance/host/network/routes.ts';
import type { NetworkSettings } from '../../server/appliance/host/network/settings.ts';
import { powerRoutes } from '../../server/appliance/host/power-routes.ts';
import type { Health } from '../../server/appliance/host/health.ts';
import { identityRoutes } from '../../server/appliance/host/machine-identity.ts';
import { machineRecoveryRoutes } from '../../server/appliance/host/machine-recovery.ts';
import type { MachineServices } from '../../server/appliance/host/recovery/services.ts';
import { setBackRoutes } from '../../server/appliance/host/set-back/routes.ts';
import { openSetBack, type SetBack } from '../../server/appliance/host/set-back/set-back.ts';
import { shareRoutes } from '../../server/appliance/host/shares/routes.ts';
import { openShares } from '../../server/appliance/host/shares/shares.ts';
import { openSshDesk, type SshParts } from '../../server/appliance/host/ssh/desk.ts';
import { sshRoutes } from '../../server/appliance/host/ssh/routes.ts';
import { supportRoutes } from '../../server/appliance/host/support.ts';
import { findVolume, makeVolume } from '../../server/appliance/host/unlock/volume.ts';
import { updateRoutes } from '../../server/appliance/host/updates/routes.ts';
import { openUpdates, type Updates } from '../../server/appliance/host/updates/updates.ts';
import { volumeRoutes } from '../../server/appliance/host/volume/routes.ts';
import { HoldfastError } from '../../server/lib/errors.ts';
import { startBundleMaker, type BundleMaker } from '../appliance/host/bundle-maker.ts';
import { makeImageMachine, type ImageMachine } from '../appliance/host/image-machine.ts';
import { FRESH, slotEngine, writeMemory } from '../appliance/host/machine-with-slots.ts';
import { lookDirectly, recoveryUnit } from '../appliance/host/recovery-programs.ts';

export interface HostedMachine {
  machine: ImageMachine;
  bundles: BundleMaker;
  updates: Updates;
  setBack: SetBack;
  socket: string;
  /** Of the appliance, where a set-back is part of the test. */
  dataDir: string;
  /** The data disk. */
  disk: string;
  /** Network settings that were put to work, oldest first. */
  applied: NetworkSettings[];
  /** What the steps of SSH were asked for: sshd, its account and the packet filter are not of this machine. */
  ssh: string[];
  /** What the power switch was told; called by `onSwitch` too. */
  switched: string[];
  onSwitch: (action: string) => void;
  close(): Promise<void>;
}

export const NEXT_VERSION = '1.1.0';

/** What a test does in place of systemd, where its appliance is set back. */
export interface SetBackParts {
  services: Omit<MachineServices, 'recover'>;
  /** Folders below which backups may lie. */
  directories: readonly string[];
  waitForHealth: () => Promise<Health>;
}

const nothing = async () => undefined;
const NO_SET_BACK: SetBackParts = {
  services: { stop: nothing, start: nothing, startPage: nothing },
  directories: [],
  waitForHealth: async () => ({ healthy: true }),
};

export async function startMachine(parts: SetBackParts = NO_SET_BACK): Promise<HostedMachine> {
  const [machine, bundles] = await Promise.all([makeImageMachine(), startBundleMaker()]);
  const { deps, places, root } = machine;
  const disk = await machine.addDisk('disk');
  const choice = await findVolume(deps);
  if (choice.kind !== 'blank') throw new Error('the disk should be blank');
  await makeVolume(deps, choice.disk);
  await mkdir(dirname(places.imageFile), { recursive: true });
  const image = {
    product: 'holdfast',
    version: '1.0.0',
    builtAt: '2026-11-01T08:00:00Z',
    region: 'eu-central',
  };
  await writeFile(places.imageFile, JSON.stringify({ ...image, gitCommit: 'b63d7db0b63d7db0b63d7db0' }));
  await writeMemory(root, FRESH);
  const updates = openUpdates({
    ...deps,
    rauc: slotEngine(root, 'A', bundles.reader, NEXT_VERSION),
    bootId: 'one',
    reboot: async () => undefined,
  });
  const socket = join(places.run, 'host.sock');
  const dataDir = join(places.data, 'holdfast');
  const unit = recoveryUnit({ places, socket, dataDir });
  const setBack = openSetBack({
    ...{ ...deps, dataDir, directories: parts.directories, waitForHealth: parts.waitForHealth },
    services: { ...parts.services, recover: unit.recover },
    shares: { mountAll: async () => [] },
    launch: lookDirectly,
    updateUnderWay: async () => (await updates.records.current())?.version,
  });
  const hosted: HostedMachine = {
    ...{ machine, bundles, updates, setBack, disk, socket, dataDir },
    applied: [],
    ssh: [],
    switched: [],
    onSwitch: () => undefined,
    close: async () => {
      unit.running()?.kill('SIGKILL');
      await setBack.idle();
      await app.close();
      updates.close();
      await Promise.all([machine.close(), bundles.dispose()]);
    },
  };
  const app = await buildMachineApp(hosted);
  await app.listen({ path: hosted.socket });
  return hosted;
}

async function buildMachineApp(hosted: HostedMachine): Promise<FastifyInstance> {
  const { deps } = hosted.machine;
  const away = () => Promise.reject(new HoldfastError('unavailable', 'The server does not answer'));
  const shares = openShares({
    ...deps,
    mounts: { mount: away, unmount: async () => undefined },
    owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
  });
  return buildHostApp(deps, [
    volumeRoutes(deps),
    powerRoutes({
      ...deps,
      power: async (action) => {
        hosted.switched.push(action);
        hosted.onSwitch(action);
      },
    }),
    supportRoutes(deps),
    networkRoutes(deps, async (settings) => void hosted.applied.push(settings)),
    hardeningRoutes,
    sshRoutes(openSshDesk(deps, playSsh(hosted.ssh))),
    shareRoutes(shares),
    updateRoutes(hosted.updates),
    setBackRoutes(hosted.setBack),
    identityRoutes,
    machineRecoveryRoutes({
      ...{ ...deps, dataDir: hosted.dataDir },
      services: { ...NO_SET_BACK.services, recover: async () => true },
    }),
  ]);
}

function playSsh(steps: string[]): Partial<SshParts> {
  let listening = false;
  const step = (name: string, listens = listening) => {
    steps.push(name);
    listening = listens;
    return Promise.resolve();
  };
  return {
    service: {
      start: () => step('start', true),
      stop: () => step('stop', false),
      isRunning: () => Promise.resolve(listening),
    },
    account: { make: () => step('account'), remove: () => step('no account') },
    firewall: () => step('firewall'),
  };
}
