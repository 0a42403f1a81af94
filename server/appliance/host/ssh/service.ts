/**
 * sshd as a unit of systemd, which ends it and everybody's session when its seconds are over: also when hostd is gone by then, and
 * whatever the clock of the machine is set to.
 */
import { HoldfastError } from '../../../lib/errors.ts';
import { runProcess } from '../../../lib/spawn.ts';

const UNIT = 'holdfast-ssh.service';
const START_MS = 60_000;
const ASK_MS = 20_000;

export interface SshService {
  /** Returns when sshd listens. */
  start(): Promise<void>;
  /** Returns when the last session has ended. */
  stop(): Promise<void>;
  isRunning(): Promise<boolean>;
}

export const systemdSsh: SshService = {
  async start() {
    const started = await runProcess('systemctl', ['start', UNIT], { timeoutMs: START_MS });
    if (started.exitCode === 0) return;
    throw new HoldfastError('unavailable', 'sshd could not be started', {
      hint: `Look at the log of ${UNIT}.`,
      detail: started.stderr.slice(-500),
    });
  },
  async stop() {
    const stopped = await runProcess('systemctl', ['stop', UNIT], { timeoutMs: START_MS });
    if (stopped.exitCode === 0) return;
    throw new HoldfastError('unavailable', 'sshd could not be stopped', {
      hint: 'Its time ends by itself. To end it now, restart the machine.',
      detail: stopped.stderr.slice(-500),
    });
  },
  async isRunning() {
    const asked = await runProcess('systemctl', ['is-active', UNIT], { timeoutMs: ASK_MS });
    return ['active', 'activating', 'reloading', 'deactivating'].includes(asked.stdout.trim());
  },
};
