/**
 * The one place that starts other programs. No shell is ever involved: a program and its arguments, nothing parsed.
 * Secrets do not belong in `args` (every user of the machine can read them) nor in `env`; hand them over by `input` or a socket.
 */
import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { messageOf, HoldfastError } from './errors.ts';

export type { ChildProcess };

/** How a started program ended. */
export interface ProcessEnd {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
}

export interface ProcessOutput extends ProcessEnd {
  stdout: string;
  stderr: string;
}

interface RunOptions extends Pick<SpawnOptions, 'cwd' | 'env' | 'uid' | 'gid'> {
  /** Killed after this long. */
  timeoutMs: number;
  /** Bytes kept of each of stdout and stderr; what comes later is dropped. Default 64 KiB. */
  maxOutputBytes?: number;
  /** Written to standard input, which is then closed. */
  input?: string | Uint8Array;
}

/** Starts a program and returns at once. The caller watches `exit` and `error`, for which `endOf` helps. */
export function startProcess(
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): ChildProcess {
  return spawn(command, args, { ...options, shell: false });
}

/** Resolves when the program has ended or could not be started; never rejects. */
export function endOf(child: ChildProcess): Promise<ProcessEnd & { error?: Error }> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve({ exitCode: child.exitCode, signal: child.signalCode });
  }
  return new Promise((resolve) => {
    child.once('error', (error) => {
      if (child.pid === undefined) resolve({ exitCode: null, signal: null, error });
    });
    child.once('exit', (exitCode, signal) => resolve({ exitCode, signal }));
  });
}

/**
 * Runs a program to its end and collects what it said.
 *
 * @throws HoldfastError `unavailable` when it cannot be started or outlives its time limit. An exit code other than 0 is a
 * result, not an error.
 */
export async function runProcess(
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<ProcessOutput> {
  const { timeoutMs, maxOutputBytes = 65_536, input, ...rest } = options;
  const child = startProcess(command, args, { ...rest, stdio: ['pipe', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      if (output[name].length < maxOutputBytes)
        output[name] += text.slice(0, maxOutputBytes - output[name].length);
    });
  }
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input);
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const limit = { reached: false };
  const timer = setTimeout(() => {
    limit.reached = true;
    child.kill('SIGKILL');
  }, timeoutMs);
  const end = await endOf(child);
  if (end.error === undefined) await closed;
  clearTimeout(timer);
  if (end.error) {
    throw new HoldfastError('unavailable', `${command} could not be started`, {
      detail: messageOf(end.error),
      cause: end.error,
    });
  }
  if (limit.reached)
    throw new HoldfastError('unavailable', `${command} did not finish within ${timeoutMs / 1000} s`);
  return { exitCode: end.exitCode, signal: end.signal, ...output };
}
