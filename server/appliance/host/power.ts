/** Restart and shut down, in order: systemd ends the services first. */
import { HoldfastError } from '../../lib/errors.ts';
import { runProcess } from '../../lib/spawn.ts';
import type { HostDeps } from './host-app.ts';
import type { PowerRequest } from './schema.ts';

/** Starts going down, and returns. */
export type PowerSwitch = (action: PowerRequest['action']) => Promise<void>;

export const systemdPower: PowerSwitch = async (action) => {
  // Not from within our own service: its end would end the command too.
  const verb = action === 'restart' ? 'reboot' : 'poweroff';
  const asked = await runProcess(
    'systemd-run',
    ['--quiet', '--collect', '--on-active=2s', 'systemctl', verb],
    {
      timeoutMs: 20_000,
    },
  );
  if (asked.exitCode === 0) return;
  throw new HoldfastError('unavailable', `This machine could not be asked to ${verb}`, {
    hint: 'Use its console.',
    detail: asked.stderr.slice(-500),
  });
};

export async function askPower(
  deps: Pick<HostDeps, 'journal'> & { power: PowerSwitch },
  request: PowerRequest,
): Promise<void> {
  await deps.journal.append(request.actor, {
    action: request.action === 'restart' ? 'host.power.restarted' : 'host.power.shut-down',
    objectType: 'machine',
  });
  await deps.power(request.action);
}
