/**
 * A process of ours that is kept running (it says `{ ready: true }` when it works, and `{ failed, hint }` when starting it
 * again cannot help): started again when it dies, ever more slowly when it keeps dying, and stopped
 * in order when the appliance stops.
 */
import { HoldfastError } from './errors.ts';
import type { Logger } from './log.ts';
import { endOf, startProcess, type ChildProcess } from './spawn.ts';

export interface KeptProcessOptions {
  name: string;
  command: string;
  args: readonly string[];
  /** Asked at each start. */
  env: () => Record<string, string>;
  log: Logger;
  /** How long it may take to say that it works. */
  readyTimeoutMs: number;
  /** How long it may take to end after SIGTERM, before it is killed. */
  stopTimeoutMs: number;
}

export interface KeptProcess {
  /** Resolves when the child first says it is ready; rejects when it ends before. */
  ready: Promise<Record<string, unknown>>;
  /** Times it was started again. */
  restarts(): number;
  pid(): number | undefined;
  stop(): Promise<void>;
}

const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 15_000;

/** Starts the process; it stays until `stop`. */
export function keepProcess(options: KeptProcessOptions): KeptProcess {
  const { log, name } = options;
  let child: ChildProcess | undefined;
  let stopping = false;
  let restarts = 0;
  let delayMs = FIRST_DELAY_MS;
  let timer: NodeJS.Timeout | undefined;
  const ready = Promise.withResolvers<Record<string, unknown>>();

  const start = () => {
    const startedAt = performance.now();
    child = startProcess(options.command, options.args, {
      env: options.env(),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // Ctrl-C at the terminal reaches the supervisor, which stops the others in order.
      detached: true,
    });
    const current = child;
    child.on('message', (message) => {
      if (typeof message !== 'object') return;
      const content = message as Record<string, unknown>;
      if (content.ready === true) {
        delayMs = FIRST_DELAY_MS;
        ready.resolve(content);
      }
      if (typeof content.failed === 'string') {
        stopping = true;
        const hint = typeof content.hint === 'string' ? { hint: content.hint } : {};
        ready.reject(new HoldfastError('unavailable', content.failed, hint));
      }
    });
    void endOf(child).then((end) => {
      if (stopping) return;
      log.error({ ...end, pid: current.pid, process: name }, `${name} ended and is started again`);
      ready.reject(new Error(`${name} ended before it was ready`));
      if (performance.now() - startedAt > 60_000) delayMs = FIRST_DELAY_MS;
      timer = setTimeout(() => {
        restarts += 1;
        start();
      }, delayMs);
      delayMs = Math.min(delayMs * 2, LONGEST_DELAY_MS);
    });
  };
  start();
  const readyTimer = setTimeout(
    () => ready.reject(new Error(`${name} was not ready after ${options.readyTimeoutMs / 1000} s`)),
    options.readyTimeoutMs,
  );
  ready.promise.then(
    () => clearTimeout(readyTimer),
    () => clearTimeout(readyTimer),
  );
  return {
    ready: ready.promise,
    restarts: () => restarts,
    pid: () => child?.pid,
    stop: async () => {
      stopping = true;
      clearTimeout(timer);
      clearTimeout(readyTimer);
      const current = child;
      if (current?.pid === undefined || current.exitCode !== null || current.signalCode !== null) return;
      const ended = endOf(current);
      current.kill('SIGTERM');
      const killer = setTimeout(() => {
        log.warn({ process: name }, `${name} did not stop in time and is killed`);
        current.kill('SIGKILL');
      }, options.stopTimeoutMs);
      await ended;
      clearTimeout(killer);
    },
  };
}
