/** Runs the programs of the build: says what it does and how long it took, keeps their words for when they fail. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { endOf, startProcess } from '../../server/lib/spawn.ts';

/** A failure whose message tells the person at the terminal all there is to know. */
export class BuildError extends Error {}

interface CommandOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** Written to standard input. */
  input?: string;
  /** Exit codes that are no failure. Default: 0 only. */
  allow?: readonly number[];
}

let logFile = join(process.cwd(), 'build.log');

/** Where everything that programs say goes. */
export function logTo(file: string): void {
  logFile = file;
  closeSync(openSync(file, 'w'));
}

/** Runs to the end; what it says goes to the log. @throws BuildError with its last words when it fails. */
export async function run(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<void> {
  const log = openSync(logFile, 'a');
  const from = readFileSync(logFile).length;
  const child = startProcess(command, args, {
    cwd: options.cwd,
    env: { ...process.env, LC_ALL: 'C.UTF-8', ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', log, log],
  });
  child.stdin?.end(options.input);
  const end = await endOf(child);
  closeSync(log);
  if (end.exitCode !== null && (options.allow ?? [0]).includes(end.exitCode)) return;
  const words = readFileSync(logFile).subarray(from).toString('utf8').slice(-3_000);
  throw new BuildError(
    `${command} ${args[0] ?? ''} failed (${end.error?.message ?? end.signal ?? end.exitCode}):\n${words}\nWhole log: ${logFile}`,
  );
}

/** Like {@link run}, and returns its standard output. */
export async function capture(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const log = openSync(logFile, 'a');
  const child = startProcess(command, args, {
    cwd: options.cwd,
    env: { ...process.env, LC_ALL: 'C.UTF-8', ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', log],
  });
  child.stdin?.end(options.input);
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (part: string) => (text += part));
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const end = await endOf(child);
  if (end.error === undefined) await closed;
  closeSync(log);
  if (end.exitCode === null || !(options.allow ?? [0]).includes(end.exitCode)) {
    throw new BuildError(
      `${command} ${args[0] ?? ''} failed (${end.error?.message ?? end.exitCode}). Whole log: ${logFile}`,
    );
  }
  return text;
}

/** Seconds that each step took, in the order they ran. */
export const stepSeconds: Record<string, number> = {};

export async function step<Result>(name: string, act: () => Promise<Result>): Promise<Result> {
  process.stdout.write(`${name} … `);
  const startedAt = performance.now();
  try {
    return await act();
  } finally {
    const seconds = Math.round((performance.now() - startedAt) / 100) / 10;
    stepSeconds[name] = seconds;
    process.stdout.write(`${seconds} s\n`);
  }
}
