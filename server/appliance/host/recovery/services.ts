/** What systemd does for a recovery: what uses the data folder ends, a page answers meanwhile, a unit recovers, all is started again. */
import { HoldfastError } from '../../../lib/errors.ts';
import { runProcess } from '../../../lib/spawn.ts';

/** What uses the data folder, in the order in which it ends. */
export const DATA_USERS = ['server', 'worker', 'migrate', 'keyd', 'postgres', 'prepare'].map(
  (name) => `holdfast-${name}.service`,
);
export const PAGE = 'holdfast-recovery-page.service';
const RECOVERY = 'holdfast-recovery.service';
const STOP_TIMEOUT_MS = 3 * 60_000;
/** Terabytes over a slow line take days. */
const RECOVERY_TIMEOUT_MS = 20 * 86_400_000;

export interface MachineServices {
  stop(units: readonly string[]): Promise<void>;
  /** Everything that belongs to Holdfast. */
  start(): Promise<void>;
  /** What tells people how far it is, in place of the server. */
  startPage(): Promise<void>;
  /** Recovers by the file that lies ready, and ends when that is over. @returns whether it came to its end. */
  recover(): Promise<boolean>;
}

export const systemdServices: MachineServices = {
  stop: (units) => systemctl(['stop', ...units]),
  start: () => systemctl(['start', '--no-block', 'holdfast.target']),
  startPage: () => systemctl(['restart', '--no-block', PAGE]),
  recover: async () => {
    const ended = await runProcess('systemctl', ['start', RECOVERY], { timeoutMs: RECOVERY_TIMEOUT_MS });
    return ended.exitCode === 0;
  },
};

async function systemctl(args: string[]): Promise<void> {
  const ended = await runProcess('systemctl', args, { timeoutMs: STOP_TIMEOUT_MS });
  if (ended.exitCode === 0) return;
  throw new HoldfastError('unavailable', 'The services of this machine do not do as they are told', {
    hint: 'Restart the machine, then try again.',
    detail: ended.stderr.slice(-1_000),
  });
}
