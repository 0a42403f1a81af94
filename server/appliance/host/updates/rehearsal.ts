/**
 * Runs the migrations of a version that is not installed, out of its own root, on a database that a run restored to scratch.
 * The new version's program gets that database's socket and nothing else: no network, no data, no keys, bounded time and
 * memory. Its answer is data, checked before it is believed.
 */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import { HoldfastError } from '../../../lib/errors.ts';
import { makePrivateDirectory } from '../../../lib/files.ts';
import { runProcess, type ProcessOutput } from '../../../lib/spawn.ts';
import { confinedUnit } from '../confined-unit.ts';
import type { Rauc } from './rauc.ts';

/** What `server/rehearse-migrations.ts` of any version prints: one line. Frozen: other versions' programs read it. */
export const MigrationAnswer = Type.Object({
  format: Type.Literal(1),
  version: Type.String({ maxLength: 128 }),
  applied: Type.Array(Type.String({ maxLength: 128 }), { maxItems: 1000 }),
  durationMs: Type.Number({ minimum: 0 }),
  error: Type.Optional(Type.String({ maxLength: 2000 })),
});
export type MigrationAnswer = Static<typeof MigrationAnswer>;

export interface RehearsalRequest {
  /** Folder of the scratch server's socket. */
  socketDir: string;
  /** As whom to connect, and to which database. */
  role: string;
  database: string;
}

/** Starts the new version's program. */
export type Launch = (root: string, request: RehearsalRequest) => Promise<ProcessOutput>;

const PROGRAM = 'server/rehearse-migrations.ts';
const MOST_SECONDS = 30 * 60;
const MOUNT_TIMEOUT_MS = 60_000;
/** Where the unit sees the scratch server's socket. */
const INSIDE = '/run/rehearsal';

/** @throws HoldfastError `invalid_input` when the new version's migrations fail, with its own words. */
export async function rehearseMigrations(
  launch: Launch,
  root: string,
  request: RehearsalRequest,
): Promise<MigrationAnswer> {
  await checkSocketDir(request.socketDir);
  const output = await launch(root, request);
  const answer = readAnswer(output.stdout);
  if (answer === undefined) {
    throw new HoldfastError('unavailable', 'The new version could not be tried out on a copy', {
      hint: 'Its program ended before it said anything. Nothing was changed. Ask the publisher, and send the detail in the log.',
      detail: `exit ${String(output.exitCode)} ${String(output.signal)}: ${output.stderr.slice(-2_000)}`,
    });
  }
  if (answer.error !== undefined || output.exitCode !== 0) {
    throw new HoldfastError(
      'invalid_input',
      `The migrations of ${answer.version} fail on a copy of your data: ${answer.error ?? 'no reason given'}`,
      {
        hint: 'The update is not installed, and nothing was changed. Send this to the publisher.',
        detail: output.stderr.slice(-2_000),
      },
    );
  }
  return answer;
}

/** A link in its place could bind any folder of the machine into the unit. */
async function checkSocketDir(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isDirectory() === true) return;
  throw new HoldfastError('invalid_input', 'There is no scratch database to rehearse on');
}

function readAnswer(stdout: string): MigrationAnswer | undefined {
  const line = stdout.trim().split('\n').at(-1) ?? '';
  try {
    const value: unknown = JSON.parse(line);
    return Value.Check(MigrationAnswer, value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** As a transient unit of systemd, in the root of the new version. @see systemd.exec(5) */
export const launchInUnit: Launch = (root, request) =>
  runProcess('systemd-run', unitArguments(root, request), { timeoutMs: (MOST_SECONDS + 60) * 1000 });

/** Pure, so that a test can hold what the unit may do. */
export function unitArguments(root: string, request: RehearsalRequest): string[] {
  return confinedUnit({
    properties: [
      `RootDirectory=${root}`,
      `BindPaths=${request.socketDir}:${INSIDE}`,
      // The scratch server takes connections from the account that runs it, and no other.
      'User=holdfast-worker',
      'MountAPIVFS=yes',
      'CapabilityBoundingSet=',
      'MemoryMax=1G',
    ],
    maxSeconds: MOST_SECONDS,
    command: programCall('/opt/holdfast', { ...request, socketDir: INSIDE }),
  });
}

/** The command line that every version understands. Frozen. */
export function programCall(top: string, request: RehearsalRequest): string[] {
  return [
    join(top, 'node_modules', '.bin', 'node'),
    join(top, PROGRAM),
    ...['--socket', request.socketDir, '--role', request.role, '--database', request.database],
  ];
}

/** Opens the root of the system in a bundle, read-only. The engine verifies what is read from it. */
export async function openBundleRoot(
  rauc: Pick<Rauc, 'mount'>,
  bundlePath: string,
  runDir: string,
): Promise<{ root: string; close(): Promise<void> }> {
  const below = join(runDir, 'rehearsal');
  const root = join(below, 'root');
  await makePrivateDirectory(below);
  await makePrivateDirectory(root, 0o755);
  await umount(root);
  await umount(join(below, 'bundle'));
  const mounted = await rauc.mount(bundlePath, below);
  try {
    const image = (await readdir(mounted.folder)).find((name) => /^root(fs)?\.(ext4|img)$/.test(name));
    if (image === undefined) {
      throw new HoldfastError('integrity_failure', 'The bundle holds no root image that can be opened');
    }
    const options = 'loop,ro,noload,nosuid,nodev';
    const args = ['-t', 'ext4', '-o', options, join(mounted.folder, image), root];
    const ended = await runProcess('mount', args, { timeoutMs: MOUNT_TIMEOUT_MS });
    if (ended.exitCode !== 0) {
      throw new HoldfastError('integrity_failure', 'The root image of the bundle cannot be opened', {
        hint: 'It is damaged. Download the bundle again.',
        detail: ended.stderr,
      });
    }
  } catch (error) {
    await mounted.unmount();
    throw error;
  }
  return {
    root,
    close: async () => {
      await umount(root);
      await mounted.unmount();
    },
  };
}

async function umount(path: string): Promise<void> {
  await runProcess('umount', ['--quiet', path], { timeoutMs: MOUNT_TIMEOUT_MS });
}
