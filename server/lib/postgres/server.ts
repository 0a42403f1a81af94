/**
 * A PostgreSQL server as our child process, on a unix socket only. When `startPostgres` returns it accepts connections; when
 * `stop` returns it has written everything and ended. It is not bound to our life: after a crash of ours it goes on, and the
 * next start on the same folder (with the folder's lock held) ends it first.
 */
import { chown, chmod, mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { HoldfastError } from '../errors.ts';
import { endOf, startProcess, type ChildProcess, type ProcessEnd } from '../spawn.ts';
import { choosePostgresAccount, namedPostgresAccount, type PostgresAccount } from './account.ts';
import { findPostgresBinaries, type PostgresBinaries } from './binaries.ts';
import { ensureCluster, ensureOwner } from './cluster.ts';
import { openLogFile } from './log-file.ts';
import { readPostmasterFile, clearLeftovers, runningPostmaster, stopOrphan } from './postmaster.ts';
import { writeConfiguration, type PeerRole, type PostgresSettings } from './settings.ts';

/** PostgreSQL names its socket after a port, even where there is none. */
export const SOCKET_PORT = 5432;
const SOCKET_LOCK = `.s.PGSQL.${SOCKET_PORT}.lock`;

export interface PostgresOptions {
  /** The cluster; made when absent, unless `existing`. */
  clusterDir: string;
  /** Folder of the socket, made when absent. Whoever may enter it and is our user may connect. */
  socketDir: string;
  /** Appended to. */
  logFile: string;
  /** Folder with `postgres` and `initdb`; the npm package's when absent. */
  binariesDir?: string | undefined;
  /** End a server that a killed Holdfast left on this folder. Only for a caller that holds the folder's lock. */
  takeOver?: boolean;
  settings?: PostgresSettings;
  /** Crash recovery counts in. Default 120 s. */
  startTimeoutMs?: number;
  /** Called before the server starts, when the cluster is in place and nobody runs on it. */
  prepare?: (clusterDir: string, account: PostgresAccount) => Promise<void>;
}

export interface PostgresServer {
  readonly pid: number;
  readonly socketDir: string;
  readonly accountKind: PostgresAccount['kind'];
  /** Resolves when the server has ended, whatever the reason. */
  readonly exited: Promise<ProcessEnd>;
  /** Disconnects clients, writes a checkpoint and ends. Idempotent. @throws HoldfastError `internal` when it had to be killed. */
  stop(timeoutMs?: number): Promise<void>;
}

/**
 * @throws HoldfastError `locked` when another server runs on the folder, `wrong_state` for another major or when root may start none, `unavailable` when it
 * does not come up (detail: the end of its log).
 */
export async function startPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const binaries = findPostgresBinaries(options.binariesDir);
  const { clusterDir, socketDir } = options;
  const account = await choosePostgresAccount([clusterDir, socketDir, binaries.postgres]);
  if (options.takeOver) await stopOrphan(clusterDir);
  refuseSecond(clusterDir);
  await ensureCluster(clusterDir, binaries, account);
  await clearLeftovers(clusterDir, join(socketDir, SOCKET_LOCK));
  await makeSocketDirectory(socketDir, account);
  await writeConfiguration({ clusterDir, socketDir, peerName: account.peerName, settings: options.settings });
  await options.prepare?.(clusterDir, account);
  await ownFiles(clusterDir, account);
  return await launch(options, binaries, account);
}

/**
 * Makes a cluster ready for a service manager that starts PostgreSQL itself, under an account of its own: made when absent,
 * owned by that account, and configured. Only for root.
 *
 * @param options.account name of the account of the machine.
 * @param options.peers which other accounts may connect as which roles.
 * @throws HoldfastError as `startPostgres`.
 */
export async function prepareCluster(options: {
  clusterDir: string;
  socketDir: string;
  account: string;
  /** Group whose members may reach the socket. */
  socketGroupId: number;
  peers: readonly PeerRole[];
}): Promise<void> {
  const { clusterDir, socketDir, peers } = options;
  const account = namedPostgresAccount(options.account);
  refuseSecond(clusterDir);
  await ensureCluster(clusterDir, findPostgresBinaries(), account);
  await clearLeftovers(clusterDir, join(socketDir, SOCKET_LOCK));
  await makeSocketDirectory(socketDir, account);
  // The socket takes its group from the folder: PostgreSQL itself need not be in that group.
  await chown(socketDir, account.owner.uid, options.socketGroupId);
  await chmod(socketDir, 0o2750);
  const settings = { unix_socket_permissions: '0770' };
  await writeConfiguration({ clusterDir, socketDir, peerName: account.peerName, peers, settings });
  await ownFiles(clusterDir, account);
}

function refuseSecond(clusterDir: string): void {
  const pid = runningPostmaster(clusterDir);
  if (pid === undefined) return;
  throw new HoldfastError('locked', `PostgreSQL runs already on ${clusterDir} (process ${pid})`, {
    hint: 'Another Holdfast uses this data folder. Stop it first.',
  });
}

async function makeSocketDirectory(socketDir: string, account: PostgresAccount): Promise<void> {
  await mkdir(dirname(socketDir), { recursive: true, mode: 0o711 });
  await mkdir(socketDir, { recursive: true, mode: 0o700 });
  await chmod(socketDir, 0o700);
  if (account.kind !== 'self') await chown(socketDir, account.owner.uid, account.owner.gid);
}

/** The files we wrote as root belong to the account again. */
async function ownFiles(clusterDir: string, account: PostgresAccount): Promise<void> {
  if (account.ids === undefined) return;
  for (const name of ['postgresql.conf', 'pg_hba.conf', 'pg_ident.conf']) {
    await chown(join(clusterDir, name), account.owner.uid, account.owner.gid);
  }
  await ensureOwner(clusterDir, account);
}

async function launch(
  options: PostgresOptions,
  binaries: PostgresBinaries,
  account: PostgresAccount,
): Promise<PostgresServer> {
  const log = openLogFile(options.logFile);
  const [command, ...args] = [...account.prefix, binaries.postgres, '-D', options.clusterDir];
  const child = startProcess(command, args, {
    cwd: options.clusterDir,
    // PG_OOM_ADJUST and the like stay out; nothing of our environment is PostgreSQL's business.
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC', PGDATA: options.clusterDir },
    stdio: ['ignore', log.fd, log.fd],
    // Own process group: Ctrl-C at the terminal goes to us, and we stop it in order.
    detached: true,
    ...account.ids,
  });
  const exited = endOf(child).finally(() => log.close());
  await waitUntilReady(child, exited, options);
  const server: PostgresServer = {
    pid: child.pid ?? 0,
    socketDir: options.socketDir,
    accountKind: account.kind,
    exited,
    stop: (timeoutMs = 30_000) => stopServer(child, exited, timeoutMs),
  };
  return server;
}

async function waitUntilReady(
  child: ChildProcess,
  exited: Promise<ProcessEnd>,
  options: PostgresOptions,
): Promise<void> {
  const deadline = performance.now() + (options.startTimeoutMs ?? 120_000);
  let ended: ProcessEnd | undefined;
  void exited.then((end) => (ended = end));
  while (ended === undefined) {
    const file = readPostmasterFile(options.clusterDir);
    if (file !== undefined && file.pid === child.pid && file.status === 'ready') return;
    if (performance.now() > deadline) {
      child.kill('SIGQUIT');
      await exited;
      throw await startError('PostgreSQL did not become ready in time', options.logFile);
    }
    await delay(10);
  }
  throw await startError('PostgreSQL did not start', options.logFile);
}

async function startError(message: string, logFile: string): Promise<HoldfastError> {
  const detail = await endOfLog(logFile);
  const full = /No space left/i.test(detail);
  return new HoldfastError(
    full ? 'no_space' : 'unavailable',
    full ? `${message}: the disk is full` : message,
    {
      hint: full ? 'Free some space on the disk of the data folder.' : `What it said is in ${logFile}.`,
      detail,
    },
  );
}

async function endOfLog(path: string, bytes = 4096): Promise<string> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    const buffer = Buffer.alloc(Math.min(size, bytes));
    await handle.read(buffer, 0, buffer.length, Math.max(0, size - bytes));
    return buffer.toString('utf8');
  } finally {
    await handle.close();
  }
}

async function stopServer(
  child: ChildProcess,
  exited: Promise<ProcessEnd>,
  timeoutMs: number,
): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    const timer = new AbortController();
    const ended = await Promise.race([
      exited,
      delay(timeoutMs, undefined, { signal: timer.signal }).catch(() => undefined),
    ]);
    timer.abort();
    if (ended !== undefined) return;
  }
  throw new HoldfastError('internal', 'PostgreSQL does not stop', { hint: 'End its processes by hand.' });
}
