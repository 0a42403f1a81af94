/**
 * Who, if anyone, runs on a cluster folder. `postmaster.pid` alone does not tell: after a crash or a reboot its number may
 * belong to another program, or to nobody. A live postmaster has the cluster folder as its working directory.
 */
import { readFileSync, readdirSync, readlinkSync, realpathSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { HoldfastError, isSystemError } from '../errors.ts';

interface PostmasterFile {
  pid: number;
  /** `starting`, `ready`, `standby`, `stopping`; empty before the first. */
  status: string;
}

/** What postmaster.pid says; undefined when there is none or it is not written yet. */
export function readPostmasterFile(clusterDir: string): PostmasterFile | undefined {
  return readLockFile(join(clusterDir, 'postmaster.pid'));
}

function readLockFile(path: string): PostmasterFile | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
  const lines = text.split('\n');
  const pid = Math.abs(Number.parseInt(lines[0] ?? '', 10));
  return Number.isInteger(pid) && pid > 0 ? { pid, status: (lines[7] ?? '').trim() } : undefined;
}

/** The process id of a postmaster that runs on this cluster now. */
export function runningPostmaster(clusterDir: string): number | undefined {
  const pid = readPostmasterFile(clusterDir)?.pid;
  if (pid === undefined || !isAlive(pid)) return undefined;
  if (process.platform !== 'linux') return pid;
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(clusterDir) && isPostgres(pid) ? pid : undefined;
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ESRCH')) return undefined;
    if (isSystemError(error, 'EACCES')) return undefined; // another user's process cannot be the one we started
    throw error;
  }
}

/**
 * Makes way after a crash: waits for the processes of a dead postmaster, which end by themselves when they notice, and removes its
 * lock files (of the cluster and of the socket) where their number now belongs to another program, or still to the dead one that
 * nobody has waited for (a container without an init process): PostgreSQL would take either for a live server.
 *
 * @param socketLock the file beside the socket.
 * @throws HoldfastError `locked` when processes of a dead postmaster stay at work in the folder.
 */
export async function clearLeftovers(
  clusterDir: string,
  socketLock: string,
  timeoutMs = 15_000,
): Promise<void> {
  if (runningPostmaster(clusterDir) !== undefined) return;
  let left = processesIn(clusterDir);
  for (let waited = 0; left.length > 0 && waited < timeoutMs; waited += 50) {
    await delay(50);
    left = processesIn(clusterDir);
  }
  if (left.length > 0) {
    throw new HoldfastError(
      'locked',
      `Processes of an earlier PostgreSQL still work in ${clusterDir}: ${left.join(', ')}`,
      {
        hint: 'End them, then start again.',
      },
    );
  }
  for (const path of [join(clusterDir, 'postmaster.pid'), socketLock]) {
    const file = readLockFile(path);
    if (file !== undefined && exists(file.pid)) await rm(path, { force: true });
  }
}

/** PostgreSQL processes whose working directory is `folder`. */
function processesIn(folder: string): number[] {
  if (process.platform !== 'linux') return [];
  const real = realpathSync(folder);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`) === real && isPostgres(pid);
      } catch {
        return false; // ended, or another user's
      }
    });
}

/**
 * Ends a postmaster that a killed Holdfast left behind. Only for a caller that holds the folder's lock.
 *
 * @throws HoldfastError `locked` when it does not end.
 */
export async function stopOrphan(clusterDir: string, timeoutMs = 30_000): Promise<void> {
  const pid = runningPostmaster(clusterDir);
  if (pid === undefined) return;
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    sendSignal(pid, signal);
    if (await hasEnded(pid, timeoutMs / 3)) return;
  }
  throw new HoldfastError(
    'locked',
    `PostgreSQL (process ${pid}) still runs on ${clusterDir} and does not stop`,
  );
}

async function hasEnded(pid: number, timeoutMs: number): Promise<boolean> {
  for (let waited = 0; waited < timeoutMs; waited += 20) {
    if (!isAlive(pid)) return true;
    await delay(20);
  }
  return false;
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!isSystemError(error, 'ESRCH')) throw error;
  }
}

function isAlive(pid: number): boolean {
  return exists(pid) && !isZombie(pid);
}

/** As PostgreSQL asks: a process that ended and was not waited for counts. */
function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    if (isSystemError(error, 'ESRCH')) return false;
    if (isSystemError(error, 'EPERM')) return true;
    throw error;
  }
}

function isPostgres(pid: number): boolean {
  return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'postgres';
}

function isZombie(pid: number): boolean {
  if (process.platform !== 'linux') return false;
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/s, '').includes(' Z ');
  } catch {
    return false;
  }
}
