/**
 * A disk of its own that a test may fill, empty, make read-only and take away: a tmpfs, which costs no memory for what is not
 * written. Root mounts it where everybody sees it; anyone else gets it in a user and mount namespace of its own.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { statfsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';

const HELP = `A test needs a small disk of its own. As root, the right to mount (CAP_SYS_ADMIN) is missing: start the
container with it, or run the tests as an ordinary account that may make user namespaces. As an ordinary account: allow those
(sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0), or run the tests as root.`;

export interface SmallDisk {
  /** As programs that are started by `within` see it. */
  path: string;
  /** The same place as this process sees it. */
  outside: string;
  /** Program and arguments to put before one that has to see it. */
  within: string[];
  /** Leaves room for that many bytes, whatever is on it. */
  leave(freeBytes: number): void;
  /** As large as at the beginning. */
  makeRoom(): void;
  /** Share of it that is in use, 0 to 1. */
  used(): number;
  /** Fails while a file on it is open to be written. */
  setReadOnly(readOnly: boolean): void;
  /** Takes it away, open files or not; the folder stays. */
  dispose(): Promise<void>;
}

const MOST_TRIES = 20;

/** @param path folder that it is mounted on, made. @throws Error that says how to get the right to mount. */
export async function mountSmallDisk(path: string, sizeBytes: number): Promise<SmallDisk> {
  await mkdir(path, { recursive: true });
  const options = `size=${String(sizeBytes)},mode=0711`;
  const keeper = process.getuid?.() === 0 ? undefined : await mountInNamespace(path, options);
  const enter = keeper === undefined ? [] : enterNamespace(keeper);
  const mount = (...args: string[]) => {
    const [command, ...rest] = [...enter, 'mount', ...args, 'tmpfs', path];
    const done = spawnSync(command, rest, { encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`mount ${args.join(' ')}: ${done.stderr}`);
  };
  if (keeper === undefined) {
    try {
      mount('-t', 'tmpfs', '-o', options);
    } catch (error) {
      throw new Error(`${HELP}\n${String(error)}`, { cause: error });
    }
  }
  const outside = keeper === undefined ? path : `/proc/${String(keeper.pid)}/root${path}`;
  // What the kernel shows of a mount in a namespace names accounts as outside of it; it must not be given back.
  const remount = (change: string) => mount('--options-mode=ignore', '-o', `remount,${change}`);
  const usage = () => {
    const { blocks, bfree, bsize } = statfsSync(outside);
    return { usedBytes: (blocks - bfree) * bsize, totalBytes: blocks * bsize };
  };
  return {
    path,
    outside,
    within: keeper === undefined ? [] : [...enter, ...asOneself()],
    leave: (freeBytes) => {
      for (let tries = 1; ; tries += 1) {
        try {
          return remount(`size=${String(usage().usedBytes + Math.max(4096, freeBytes))}`);
        } catch (error) {
          // Something was written since it was counted, and it cannot be smaller than what it holds.
          if (tries === MOST_TRIES) throw error;
        }
      }
    },
    makeRoom: () => remount(`size=${String(sizeBytes)}`),
    used: () => usage().usedBytes / usage().totalBytes,
    setReadOnly: (readOnly) => remount(readOnly ? 'ro' : 'rw'),
    async dispose() {
      if (keeper === undefined) spawnSync('umount', ['-l', path]);
      else {
        const ended = new Promise((resolve) => keeper.once('close', resolve));
        keeper.stdin?.end();
        await ended;
      }
    },
  };
}

/** A process that holds the namespace for as long as its standard input is open. */
async function mountInNamespace(path: string, options: string): Promise<ChildProcess> {
  const script = 'mount -t tmpfs -o "$0" tmpfs "$1" && echo mounted && exec cat';
  const keeper = spawn('unshare', ['-r', '-m', 'sh', '-c', script, options, path], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let errors = '';
  keeper.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  await new Promise<void>((resolve, reject) => {
    keeper.stdout.once('data', () => resolve());
    keeper.once('error', reject);
    keeper.once('close', () => reject(new Error(`${HELP}\n${errors}`)));
  });
  return keeper;
}

function enterNamespace(keeper: ChildProcess): string[] {
  return ['nsenter', '-t', String(keeper.pid), '-U', '-m', '--preserve-credentials', '--'];
}

/** Inside, one is root; a namespace within it gives one's own account back, which PostgreSQL insists on. */
function asOneself(): string[] {
  const [user, group] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  return ['unshare', '-U', `--map-user=${String(user)}`, `--map-group=${String(group)}`, '--'];
}
