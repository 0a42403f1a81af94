/**
 * A machine whose appliance can be set back: the real application of hostd on a real socket, and the real programs that look and
 * recover. Systemd is replaced: its units are told here, and a start is what `server/prepare.ts` does with the folders.
 */
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { HostClient } from '../../../server/appliance/host/client.ts';
import type { Health } from '../../../server/appliance/host/health.ts';
import { buildHostApp } from '../../../server/appliance/host/host-app.ts';
import { connectHost, requireHost } from '../../../server/appliance/host/index.ts';
import { machineRecoveryRoutes } from '../../../server/appliance/host/machine-recovery.ts';
import type { MachineServices } from '../../../server/appliance/host/recovery/services.ts';
import { setBackRoutes } from '../../../server/appliance/host/set-back/routes.ts';
import { openSetBack, type SetBack } from '../../../server/appliance/host/set-back/set-back.ts';
import { settleAtStart } from '../../../server/appliance/host/set-back/settle.ts';
import { systemClock, type Clock } from '../../../server/lib/clock.ts';
import { dataPaths, writeMarker } from '../../../server/lib/data-folder.ts';
import { shortPath } from '../../../server/lib/sockets.ts';
import type { ChildProcess } from '../../../server/lib/spawn.ts';
import { loadOwnTlsIdentity } from '../../../server/lib/tls.ts';
import { makeImageMachine, type ImageMachine } from './image-machine.ts';
import { lookDirectly, recoveryUnit } from './recovery-programs.ts';

export interface SetBackMachine {
  machine: ImageMachine;
  client: HostClient;
  socket: string;
  dataDir: string;
  setBack: SetBack;
  /** What services were told, in order. */
  acts: string[];
  /** Of the appliance after its services were started; well at first. */
  health: () => Promise<Health>;
  /** Version of an update that is under way. */
  updating: string | undefined;
  /** Goes on by itself; a test may add to it. */
  aheadMs: number;
  /** The program that recovers, while it runs. */
  recovering(): ChildProcess | undefined;
  said(): string;
  /** hostd ends, and another one takes its place. */
  restartHostd(): Promise<void>;
  close(): Promise<void>;
}

/** @param services told instead of systemd; `recover` is always the real program. */
export async function startSetBackMachine(
  directories: readonly string[],
  services: Partial<Omit<MachineServices, 'recover'>> = {},
): Promise<SetBackMachine> {
  const machine = await makeImageMachine();
  const { places } = machine;
  const dataDir = join(places.data, 'holdfast');
  const socket = join(places.run, 'host.sock');
  const unit = recoveryUnit({ places, socket, dataDir });
  const acts: string[] = [];
  const clock: Clock = {
    now: () => new Date(machine.deps.clock.now().getTime() + hosted.aheadMs),
    monotonicMs: () => machine.deps.clock.monotonicMs(),
  };
  const deps = { ...machine.deps, clock };
  const open = () =>
    openSetBack({
      ...deps,
      dataDir,
      directories,
      shares: { mountAll: async () => [] },
      launch: lookDirectly,
      updateUnderWay: async () => hosted.updating,
      waitForHealth: () => hosted.health(),
      services: {
        stop: async (units) => {
          acts.push(`stop ${units.map((name) => name.replace(/^holdfast-|\.service$/g, '')).join(' ')}`);
          await services.stop?.(units);
        },
        startPage: async () => {
          acts.push('page');
          await services.startPage?.();
        },
        start: async () => {
          acts.push('start');
          await settleAtStart({ ...deps, dataDir });
          await services.start?.();
        },
        recover: unit.recover,
      },
    });
  const listen = async () => {
    const app = await buildHostApp(deps, [
      machineRecoveryRoutes({ ...deps, dataDir, services: { ...NO_SERVICES, recover: unit.recover } }),
      setBackRoutes(hosted.setBack),
    ]);
    await app.listen({ path: shortPath(socket) });
    return app;
  };
  const hosted: SetBackMachine = {
    ...{ machine, socket, dataDir, acts },
    setBack: open(),
    client: requireHost(connectHost({ hostSocket: socket })),
    health: async () => ({ healthy: true }),
    updating: undefined,
    aheadMs: 0,
    recovering: () => unit.running(),
    said: () => unit.said(),
    restartHostd: async () => {
      await app.close();
      hosted.setBack = open();
      app = await listen();
      await hosted.setBack.resume();
    },
    close: async () => {
      unit.running()?.kill('SIGKILL');
      await hosted.setBack.idle();
      await app.close();
      await machine.close();
    },
  };
  let app = await listen();
  return hosted;
}

const nothing = async () => undefined;
const NO_SERVICES = { stop: nothing, start: nothing, startPage: nothing };

/** The live data of an appliance that nobody needs to start: what makes it this one, and something that only it has. */
export async function makeLiveData(dataDir: string, keyring: string): Promise<void> {
  const paths = dataPaths(dataDir);
  for (const folder of [paths.tls, paths.files, paths.catalogue]) await mkdir(folder, { recursive: true });
  await cp(keyring, paths.keyring, { recursive: true });
  await writeFile(join(paths.keyring, 'log-of-today'), 'what the keyring learnt since');
  await loadOwnTlsIdentity(paths.tls, systemClock);
  await writeFile(join(paths.files, 'written-since'), 'only here');
  await writeMarker(dataDir, '00000000-0000-4000-8000-00000000abcd', '1.0.0');
}
