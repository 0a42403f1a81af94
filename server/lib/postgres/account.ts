/**
 * Which account PostgreSQL runs under. It refuses to run as root. For root there are two ways:
 *
 * 1. as `nobody`, when that user may enter every folder above the cluster, the socket and the programs;
 * 2. in a user namespace of its own where our user appears as an ordinary one. The kernel still sees root as the files'
 *    owner, so folders that are closed to others stay readable; capabilities are gone.
 *
 * Ambient capabilities (`setpriv`) are no third way: PostgreSQL asks access(2), which looks at the real user only.
 */
import { statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, resolve } from 'node:path';
import { findAccount, readAccounts, type Account } from '../accounts.ts';
import { HoldfastError, messageOf } from '../errors.ts';
import { runProcess } from '../spawn.ts';

/** How to start a PostgreSQL program, and whom its socket sees when we connect. */
export interface PostgresAccount {
  kind: 'self' | 'nobody' | 'namespace' | 'named';
  /** Put before the program and its arguments. */
  prefix: readonly string[];
  /** User and group to switch to, with the owner that cluster files must have. */
  ids: { uid: number; gid: number } | undefined;
  /** Owner of the cluster's files, as the kernel sees it outside any namespace. */
  owner: { uid: number; gid: number };
  /** Name of our own user as PostgreSQL resolves it on its socket. */
  peerName: string;
}

/**
 * @param paths - Everything PostgreSQL must reach: cluster, socket folder, programs. They need not exist yet.
 * @throws HoldfastError `wrong_state` when root can use neither way, naming the folder that is closed.
 */
export async function choosePostgresAccount(paths: readonly string[]): Promise<PostgresAccount> {
  const self = process.getuid?.() ?? 0;
  const group = process.getgid?.() ?? 0;
  if (process.platform === 'win32' || self !== 0) {
    return {
      kind: 'self',
      prefix: [],
      ids: undefined,
      owner: { uid: self, gid: group },
      peerName: ownName(self),
    };
  }
  const entries = readAccounts();
  const nobody = entries.find((entry) => entry.name === 'nobody');
  const closed = nobody
    ? paths.map((path) => closedFolder(path, nobody)).find((path) => path !== undefined)
    : '/';
  if (nobody && closed === undefined) {
    const ids = { uid: nobody.uid, gid: nobody.gid };
    return { kind: 'nobody', prefix: [], ids, owner: ids, peerName: ownName(self) };
  }
  return namespaceAccount(entries, nobody, closed ?? '/');
}

/**
 * The account that a machine image made for PostgreSQL. Only root may start programs under it.
 *
 * @throws HoldfastError `unavailable` when there is no such account.
 */
export function namedPostgresAccount(name: string): PostgresAccount {
  const { uid, gid } = findAccount(name);
  return { kind: 'named', prefix: [], ids: { uid, gid }, owner: { uid, gid }, peerName: name };
}

async function namespaceAccount(
  entries: readonly Account[],
  nobody: Account | undefined,
  closed: string,
): Promise<PostgresAccount> {
  // Not nobody: every user outside the namespace appears in it as nobody, and would pass for us on the socket.
  const stand = entries.find((entry) => entry.uid > 0 && entry.uid < 65_534 && entry.uid !== nobody?.uid);
  const prefix = ['unshare', '-U', `--map-user=${stand?.uid}`, `--map-group=${stand?.gid}`, '--'];
  let reason = 'there is no ordinary user in /etc/passwd';
  if (stand) {
    try {
      const tried = await runProcess('unshare', [...prefix.slice(1), 'true'], { timeoutMs: 10_000 });
      if (tried.exitCode === 0) {
        return { kind: 'namespace', prefix, ids: undefined, owner: { uid: 0, gid: 0 }, peerName: stand.name };
      }
      reason = tried.stderr.trim();
    } catch (error) {
      reason = messageOf(error);
    }
  }
  throw new HoldfastError(
    'wrong_state',
    `PostgreSQL does not run as root, and the user nobody may not enter ${closed}`,
    {
      hint: `Run Holdfast as an ordinary user, move it out of ${closed}, or allow passage with: chmod o+x ${closed}`,
      detail: `user namespace: ${reason}`,
    },
  );
}

/** The first folder on the way to `path` that `user` may not enter; undefined when the way is free. */
export function closedFolder(path: string, user: { uid: number; gid: number }): string | undefined {
  const above: string[] = [];
  for (let folder = dirname(resolve(path)); ; folder = dirname(folder)) {
    above.unshift(folder);
    if (folder === dirname(folder)) break;
  }
  return above.find((folder) => !mayEnter(folder, user));
}

function mayEnter(folder: string, user: { uid: number; gid: number }): boolean {
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found === undefined) return true; // made later, by us
  if (found.uid === user.uid) return (found.mode & 0o100) !== 0;
  if (found.gid === user.gid) return (found.mode & 0o010) !== 0;
  return (found.mode & 0o001) !== 0;
}

function ownName(uid: number): string {
  try {
    return userInfo().username;
  } catch (error) {
    throw new HoldfastError(
      'unavailable',
      `The account with number ${uid} has no name, which PostgreSQL needs`,
      {
        hint: 'Run Holdfast under an account that is listed in /etc/passwd.',
        cause: error,
      },
    );
  }
}
