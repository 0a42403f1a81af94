/**
 * Tells systemd how a service of ours does ("sd_notify(3)"): ready, still alive, stopping. Node cannot send datagrams on a unix
 * socket, so `systemd-notify` does. Where no service manager listens, nothing happens.
 *
 * Alive means that the event loop turns: a database that is away is no reason to be killed, a loop that hangs is.
 */
import { serviceManagerAddress } from './config.ts';
import { messageOf } from './errors.ts';
import type { Logger } from './log.ts';
import { runProcess } from './spawn.ts';

export interface ServiceManager {
  /** From here on others may count on this service. @param status one line, for `systemctl status`. */
  ready(status: string): Promise<void>;
  stopping(): Promise<void>;
}

const NOTIFY_TIMEOUT_MS = 10_000;

export function connectServiceManager(log: Pick<Logger, 'warn'>): ServiceManager {
  const address = serviceManagerAddress();
  if (address === undefined) return { ready: async () => undefined, stopping: async () => undefined };
  let alive: NodeJS.Timeout | undefined;
  const notify = async (...assignments: string[]) => {
    try {
      const env = { NOTIFY_SOCKET: address.socket, PATH: '/usr/bin:/bin' };
      const ended = await runProcess('systemd-notify', assignments, { env, timeoutMs: NOTIFY_TIMEOUT_MS });
      if (ended.exitCode !== 0) log.warn({ said: ended.stderr.trim() }, 'systemd could not be told');
    } catch (error) {
      // It would end us when it hears nothing, and start us again: saying it is all there is to do.
      log.warn({ cause: messageOf(error) }, 'systemd could not be told');
    }
  };
  return {
    ready: async (status) => {
      await notify('READY=1', `STATUS=${status}`);
      if (address.watchdogMs === undefined) return;
      // Three signs of life in the time that systemd allows for one.
      alive = setInterval(() => void notify('WATCHDOG=1'), address.watchdogMs / 3).unref();
    },
    stopping: async () => {
      clearInterval(alive);
      await notify('STOPPING=1', 'STATUS=Stopping');
    },
  };
}
