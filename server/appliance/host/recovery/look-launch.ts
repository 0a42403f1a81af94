/** Runs the program that looks at a storage: confined, because what lies there may be hostile, and its answer is data to be checked. */
import { Value } from 'typebox/value';
import { ERROR_STATUS, HoldfastError, type ErrorCode } from '../../../lib/errors.ts';
import { runProcess, type ProcessOutput } from '../../../lib/spawn.ts';
import { confinedUnit } from '../confined-unit.ts';
import { type LookAnswer, RepositoryAnswer } from './schema.ts';

/** Starts the program with a request on its standard input. */
export type LookLaunch = (input: string) => Promise<ProcessOutput>;

/** A repository with many snapshots on a slow share. */
export const LOOK_SECONDS = 10 * 60;
const MOST_ANSWER_BYTES = 2 * 1024 * 1024;
const NODE = '/opt/holdfast/node_modules/.bin/node';
const PROGRAM = '/opt/holdfast/server/recovery-look.ts';

/** @throws HoldfastError as the program says, `unavailable` when it says nothing. */
export async function lookAt(
  launch: LookLaunch,
  request: {
    path: string;
    kit?: string | undefined;
    knownHead?: { number: number; sha256: string } | undefined;
  },
): Promise<LookAnswer> {
  const output = await launch(JSON.stringify(request));
  const answer = readAnswer(output.stdout);
  if (answer === undefined) {
    throw new HoldfastError('unavailable', 'What lies there could not be looked at', {
      hint: 'The log of the machine says more, on the console.',
      detail: `exit ${String(output.exitCode)} ${String(output.signal)}: ${output.stderr.slice(-2_000)}`,
    });
  }
  if (!('error' in answer)) return answer;
  const { code, message, hint } = answer.error;
  const known = Object.keys(ERROR_STATUS).find((one) => one === code) as ErrorCode | undefined;
  throw new HoldfastError(known ?? 'internal', message, hint === undefined ? {} : { hint });
}

/** In the first of the folders that holds a repository. */
export async function lookIn(
  launch: LookLaunch,
  folders: readonly string[],
  kit: string | undefined,
): Promise<{ path: string; answer: LookAnswer }> {
  let first: unknown;
  for (const path of folders) {
    try {
      return { path, answer: await lookAt(launch, { path, kit }) };
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'no_repository') throw error;
      first ??= error;
    }
  }
  throw first;
}

function readAnswer(stdout: string): RepositoryAnswer | undefined {
  try {
    const value: unknown = JSON.parse(stdout);
    return Value.Check(RepositoryAnswer, value)
      ? (Value.Clean(RepositoryAnswer, value) as RepositoryAnswer)
      : undefined;
  } catch {
    return undefined;
  }
}

/** As a transient unit of systemd that reads, and does nothing else. @see systemd.exec(5) */
export const lookInUnit: LookLaunch = (input) =>
  runProcess('systemd-run', lookArguments(), {
    timeoutMs: (LOOK_SECONDS + 60) * 1_000,
    maxOutputBytes: MOST_ANSWER_BYTES,
    input,
  });

/** Pure, so that a test can hold what the unit may do. */
export function lookArguments(): string[] {
  return confinedUnit({
    properties: [
      // Root reads backups of whatever account; it may change nothing.
      'CapabilityBoundingSet=CAP_DAC_READ_SEARCH',
      'ProtectHome=yes',
      'InaccessiblePaths=/data /state -/run/holdfast/root.key -/run/holdfast/volume.key',
      'RestrictRealtime=yes',
      'SystemCallErrorNumber=EPERM',
      'MemoryMax=512M',
    ],
    maxSeconds: LOOK_SECONDS,
    command: [NODE, PROGRAM],
  });
}
