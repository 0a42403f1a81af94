/**
 * A machine that nobody owns, for recoveries: the real application of hostd on a real socket, its volume in an image file, and the
 * real programs that look at backups and recover from them. Only systemd is replaced: its units are started here.
 */
import { join } from 'node:path';
import type { HostClient } from '../../../server/appliance/host/client.ts';
import { buildHostApp } from '../../../server/appliance/host/host-app.ts';
import { connectHost, requireHost } from '../../../server/appliance/host/index.ts';
import { machineRecoveryRoutes } from '../../../server/appliance/host/machine-recovery.ts';
import {
  openBrowserRecovery,
  type BrowserRecoveryDeps,
} from '../../../server/appliance/host/recovery/browser-recovery.ts';
import { browserRecoveryRoutes } from '../../../server/appliance/host/recovery/routes.ts';
import type { MachineServices } from '../../../server/appliance/host/recovery/services.ts';
import type { MountTool } from '../../../server/appliance/host/shares/mount.ts';
import { shareRoutes } from '../../../server/appliance/host/shares/routes.ts';
import { openShares } from '../../../server/appliance/host/shares/shares.ts';
import { findVolume, makeVolume } from '../../../server/appliance/host/unlock/volume.ts';
import { volumeRoutes } from '../../../server/appliance/host/volume/routes.ts';
import { HoldfastError } from '../../../server/lib/errors.ts';
import { shortPath } from '../../../server/lib/sockets.ts';
import type { ChildProcess } from '../../../server/lib/spawn.ts';
import { makeImageMachine, type ImageMachine } from './image-machine.ts';
import { lookDirectly, recoveryUnit } from './recovery-programs.ts';

export interface BlankMachine {
  machine: ImageMachine;
  client: HostClient;
  socket: string;
  /** The data disk. */
  disk: string;
  dataDir: string;
  /** What services were told, in order. */
  acts: string[];
  /** The program that recovers, while it runs. */
  recovering(): ChildProcess | undefined;
  /** What it said. */
  said(): string;
  /** As hostd when it starts. */
  resume(): Promise<void>;
  close(): Promise<void>;
}

/**
 * @param directories folders below which backups may lie.
 * @param services told instead of systemd; `recover` is always the real program.
 */
export async function startBlankMachine(
  directories: readonly string[],
  services: Partial<Omit<MachineServices, 'recover'>> & { mounts?: MountTool } = {},
): Promise<BlankMachine> {
  const machine = await makeImageMachine();
  const { deps, places } = machine;
  const disk = await machine.addDisk('disk');
  const choice = await findVolume(deps);
  if (choice.kind !== 'blank') throw new Error('the disk should be blank');
  await makeVolume(deps, choice.disk);
  const dataDir = join(places.data, 'holdfast');
  const socket = join(places.run, 'host.sock');
  const acts: string[] = [];
  const unit = recoveryUnit({ places, socket, dataDir });
  const away = () => Promise.reject(new HoldfastError('unavailable', 'The server does not answer'));
  const shares = openShares({
    ...deps,
    mounts: services.mounts ?? { mount: away, unmount: async () => undefined },
    owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
  });
  const recoveryDeps: BrowserRecoveryDeps = {
    ...deps,
    shares,
    launch: lookDirectly,
    directories,
    hasTpm: async () => machine.tpm.state !== 'missing',
    dataDir,
    services: {
      stop: async (units) => {
        acts.push(`stop ${units.map((unit) => unit.replace(/^holdfast-|\.service$/g, '')).join(' ')}`);
        await services.stop?.(units);
      },
      start: async () => {
        acts.push('start');
        await services.start?.();
      },
      startPage: async () => {
        acts.push('page');
        await services.startPage?.();
      },
      recover: unit.recover,
    },
  };
  const recovery = openBrowserRecovery(recoveryDeps);
  const app = await buildHostApp(deps, [
    volumeRoutes(deps),
    shareRoutes(shares),
    machineRecoveryRoutes(recoveryDeps),
    browserRecoveryRoutes(recovery),
  ]);
  await app.listen({ path: shortPath(socket) });
  return {
    ...{ machine, socket, disk, dataDir, acts },
    client: requireHost(connectHost({ hostSocket: socket })),
    recovering: () => unit.running(),
    said: () => unit.said(),
    resume: () => recovery.resume(),
    close: async () => {
      unit.running()?.kill('SIGKILL');
      await app.close();
      await machine.close();
    },
  };
}
