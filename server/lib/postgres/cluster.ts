import { existsSync, statSync } from 'node:fs';
import { chmod, chown, lchown, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { crashPoint } from '../crash-point.ts';
import { HoldfastError } from '../errors.ts';
import { syncDirectory } from '../files.ts';
import { runProcess } from '../spawn.ts';
import type { PostgresAccount } from './account.ts';
import { clusterMajor, POSTGRES_MAJOR, type PostgresBinaries } from './binaries.ts';
import { ADMIN_ROLE } from './settings.ts';

const INITDB_TIMEOUT_MS = 120_000;

/** Ends the name of a cluster that is still being made; one that is found at start is left from a crash. */
const UNFINISHED = '.unfinished';

/**
 * Makes the cluster if there is none. It appears under its name only when it is whole: checksums on, and sorted by a locale
 * that PostgreSQL brings itself, so that no update of the operating system breaks an index.
 *
 * @throws HoldfastError `wrong_state` for a folder of another PostgreSQL major, `conflict` for a folder that is something else.
 */
export async function ensureCluster(
  clusterDir: string,
  binaries: PostgresBinaries,
  account: PostgresAccount,
): Promise<void> {
  const unfinished = clusterDir + UNFINISHED;
  await rm(unfinished, { recursive: true, force: true });
  if (existsSync(clusterDir)) {
    assertUsable(clusterDir);
    await ensureOwner(clusterDir, account);
    return;
  }
  await mkdir(dirname(clusterDir), { recursive: true });
  await mkdir(unfinished, { mode: 0o700 });
  await chown(unfinished, account.owner.uid, account.owner.gid);
  await runInitdb(unfinished, binaries, account);
  crashPoint('postgres.cluster.made');
  await rename(unfinished, clusterDir);
  await syncDirectory(dirname(clusterDir));
  crashPoint('postgres.cluster.published');
}

function assertUsable(clusterDir: string): void {
  const major = clusterMajor(clusterDir);
  if (major === undefined) {
    throw new HoldfastError('conflict', `${clusterDir} is there but holds no PostgreSQL data`, {
      hint: 'Move that folder away, or point HOLDFAST_DATA to another one.',
    });
  }
  if (major !== POSTGRES_MAJOR) {
    throw new HoldfastError(
      'wrong_state',
      `${clusterDir} was made by PostgreSQL ${major}; this Holdfast brings PostgreSQL ${POSTGRES_MAJOR}`,
      {
        hint: `Start it with the Holdfast release that brings PostgreSQL ${major}, or recover from a snapshot into a new folder.`,
      },
    );
  }
}

async function runInitdb(
  directory: string,
  binaries: PostgresBinaries,
  account: PostgresAccount,
): Promise<void> {
  const args = ['-D', directory, '-k', '--locale-provider=builtin', '--locale=C.UTF-8', '-E', 'UTF8'];
  args.push('-U', ADMIN_ROLE, '-A', 'peer', '--no-instructions');
  const [command, ...rest] = [...account.prefix, binaries.initdb, ...args];
  const ended = await runProcess(command ?? binaries.initdb, rest, {
    cwd: directory,
    env: {
      PATH: process.platform === 'win32' ? binaries.directory : '/usr/bin:/bin',
      LC_ALL: 'C',
      TZ: 'UTC',
    },
    timeoutMs: INITDB_TIMEOUT_MS,
    ...account.ids,
  });
  if (ended.exitCode === 0) return;
  await rm(directory, { recursive: true, force: true });
  const full = /No space left/i.test(ended.stderr);
  throw new HoldfastError(full ? 'no_space' : 'unavailable', 'The database could not be created', {
    hint: full ? 'Free some space on the disk of the data folder.' : 'Run `holdfast doctor` for the reason.',
    detail: (ended.stderr || ended.stdout).trim(),
  });
}

/**
 * Gives the cluster's files to the account that PostgreSQL runs under, where root changed from one way to the other (a folder
 * above was closed or opened since). Idempotent: the cluster's own folder is changed last.
 */
export async function ensureOwner(clusterDir: string, account: PostgresAccount): Promise<void> {
  if (account.kind === 'self') return;
  const { uid, gid } = account.owner;
  const found = statSync(clusterDir);
  if (found.uid === uid && found.gid === gid) return;
  for (const entry of await readdir(clusterDir, { recursive: true, withFileTypes: true })) {
    await lchown(join(entry.parentPath, entry.name), uid, gid);
  }
  await chmod(clusterDir, 0o700);
  await chown(clusterDir, uid, gid);
}
