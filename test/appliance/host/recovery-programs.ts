/** The real programs of a recovery as systemd's units start them, without the units around them. */
import { join } from 'node:path';
import type { HostPlaces } from '../../../server/appliance/host/host-places.ts';
import type { LookLaunch } from '../../../server/appliance/host/recovery/look-launch.ts';
import { recoveryFilePath } from '../../../server/appliance/host/setup-from-cloud.ts';
import { shortPath } from '../../../server/lib/sockets.ts';
import { endOf, runProcess, startProcess, type ChildProcess } from '../../../server/lib/spawn.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');

export interface RecoveryUnit {
  /** As `MachineServices` has it. */
  recover(): Promise<boolean>;
  /** The program, while it runs. */
  running(): ChildProcess | undefined;
  /** What it said. */
  said(): string;
}

/** `holdfast-recovery.service`. */
export function recoveryUnit(of: { places: HostPlaces; socket: string; dataDir: string }): RecoveryUnit {
  let child: ChildProcess | undefined;
  let said = '';
  return {
    recover: async () => {
      child = startProcess(
        process.execPath,
        [join(ROOT, 'server/cli/holdfast.ts'), 'recover', '--config', recoveryFilePath(of.places)],
        {
          env: {
            PATH: process.env.PATH,
            HOLDFAST_DATA: of.dataDir,
            HOLDFAST_HOST_SOCKET: shortPath(of.socket),
            HOLDFAST_ROOT_KEY_FILE: join(of.places.run, 'root.key'),
          },
          stdio: ['ignore', 'pipe', 'pipe'],
        },
      );
      for (const stream of [child.stdout, child.stderr])
        stream?.setEncoding('utf8').on('data', (text: string) => (said += text));
      const { exitCode } = await endOf(child);
      child = undefined;
      return exitCode === 0;
    },
    running: () => child,
    said: () => said,
  };
}

/** The program that looks at backups. */
export const lookDirectly: LookLaunch = (input) =>
  runProcess(process.execPath, [join(ROOT, 'server/recovery-look.ts')], {
    timeoutMs: 60_000,
    maxOutputBytes: 2 * 1024 * 1024,
    input,
  });
