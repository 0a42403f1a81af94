/**
 * The services of a machine image without systemd: each program is started by hand under its own account, in a mount namespace
 * whose /etc/passwd and /etc/group list the accounts that the image makes.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findPostgresBinaries } from '../../server/lib/postgres/index.ts';
import { isRoot, othersMayPass } from '../helpers/other-account.ts';
import { waitFor } from '../helpers/wait-for.ts';

const root = join(import.meta.dirname, '..', '..');

/** uid, own group, other groups: as the image makes them. */
const ACCOUNTS = {
  root: [0, 0, []],
  postgres: [7101, 7101, []],
  'holdfast-keyd': [7102, 7102, []],
  holdfast: [7103, 7103, [7105]],
  'holdfast-worker': [7104, 7104, [7105]],
} as const;

/** Of `holdfast-data`. */
export const DATA_GROUP_ID = 7105;

export type MachineAccount = keyof typeof ACCOUNTS;

/** Whether this machine lets a test play other accounts: root, with mount namespaces. */
export const machineIsPossible =
  isRoot && othersMayPass && spawnSync('unshare', ['--mount', 'true']).status === 0;

export interface Machine {
  dataDir: string;
  /** What systemd puts below /run. */
  runDir: string;
  /** PostgreSQL's server program. */
  postgres: string;
  /** Starts a program under an account. */
  start(account: MachineAccount, command: readonly string[], env?: Record<string, string>): MachineProcess;
  /** Starts one of the server's entries. */
  node(account: MachineAccount, entry: string, env?: Record<string, string>): MachineProcess;
  /** Ends what still runs, newest first. */
  stopAll(): Promise<void>;
  /** The same, and removes everything. */
  close(): Promise<void>;
}

export interface MachineProcess {
  child: ChildProcess;
  output(): string;
  /** Exit code. */
  ended: Promise<number | null>;
  /** Waits for words of its output. @throws when it ends before. */
  says(words: string): Promise<void>;
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

export async function makeMachine(): Promise<Machine> {
  const top = await mkdtemp(join(tmpdir(), 'holdfast-test-machine-'));
  await chmod(top, 0o711);
  const [dataDir, runDir] = [join(top, 'data'), join(top, 'run')];
  await mkdir(runDir, { mode: 0o711 });
  const passwd = Object.entries(ACCOUNTS).map(([name, [uid, gid]]) => `${name}:x:${uid}:${gid}::/:/bin/sh`);
  await writeFile(join(top, 'passwd'), [...passwd, 'nobody:x:65534:65534::/:/bin/sh', ''].join('\n'));
  const groups = Object.entries(ACCOUNTS).map(([name, [, gid]]) => `${name}:x:${gid}:`);
  const data = 'holdfast-data:x:7105:holdfast,holdfast-worker';
  await writeFile(join(top, 'group'), [...groups, data, 'nogroup:x:65534:', ''].join('\n'));
  const rootKey = join(runDir, 'root.key');
  await writeFile(rootKey, `holdfast-root-key/1 ${randomBytes(32).toString('base64')}\n`);
  await chmod(rootKey, 0o444); // a credential of systemd's is readable by the service alone
  const settings = {
    PATH: process.env.PATH ?? '/usr/bin:/bin',
    HOLDFAST_DATA: dataDir,
    HOLDFAST_HOST: '127.0.0.1',
    HOLDFAST_PORT: '0',
    HOLDFAST_SHARED_GROUP: 'holdfast-data',
    HOLDFAST_POSTGRES_BIN: findPostgresBinaries().directory,
    HOLDFAST_CLAIM_CODE_FILE: join(runDir, 'claim-code'),
  };
  const started: MachineProcess[] = [];
  const start: Machine['start'] = (account, command, env = {}) => {
    const process = startAs(account, top, command, { ...settings, ...env });
    started.push(process);
    return process;
  };
  const stopAll = async () => {
    for (const process of started.splice(0).reverse()) await process.stop();
  };
  return {
    dataDir,
    runDir,
    postgres: findPostgresBinaries().postgres,
    start,
    node: (account, entry, env) =>
      start(account, [process.execPath, join(root, 'server', `${entry}.ts`)], {
        ...(entry === 'keyd' ? { HOLDFAST_ROOT_KEY_FILE: rootKey } : {}),
        ...env,
      }),
    stopAll,
    close: async () => {
      await stopAll();
      await rm(top, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** `exec` all the way, so that a signal reaches the program itself. */
const SCRIPT = 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@"';

function startAs(
  account: MachineAccount,
  top: string,
  command: readonly string[],
  env: Record<string, string>,
): MachineProcess {
  const [uid, gid, groups] = ACCOUNTS[account];
  const switched = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`];
  switched.push(groups.length > 0 ? `--groups=${groups.join(',')}` : '--clear-groups');
  const child = spawn(
    'unshare',
    ['--mount', '--propagation=private', 'sh', '-c', SCRIPT, top, ...switched, ...command],
    { cwd: '/', stdio: ['ignore', 'pipe', 'pipe'], env },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return {
    child,
    output: () => output,
    ended,
    says: async (words) => {
      await waitFor(
        `${command.join(' ')} to say ${words}`,
        () => {
          if (output.includes(words)) return true;
          if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}:\n${output}`);
          return undefined;
        },
        60_000,
      );
    },
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      return ended;
    },
  };
}
