/**
 * A real OpenSSH server on a loopback port, for SFTP targets. It runs as this account, or as `nobody` where the tests are root's:
 * without root's rights a server lets in only the account that it runs as, and cannot check passwords. So password sign-in is
 * tested with `startPasswordServer`: OpenSSH's own sftp-server behind another SSH implementation's sign-in.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { appendFile, chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import type { SftpConfig, SftpHostKey } from '../../server/backups/engine.ts';
import { isRoot, NOBODY, othersMayPass } from './other-account.ts';
import { tool, TOOLS_DIRECTORY } from './tools.ts';
import { waitFor } from './wait-for.ts';

export interface SftpServer {
  /** A folder that the server's account may write in. */
  top: string;
  port: number;
  username: string;
  privateKey: string;
  hostKey: SftpHostKey;
  /** Of a folder below `top`, made empty. */
  makeFolder(name: string): Promise<string>;
  config(path: string): SftpConfig;
  /** Makes a path the server's account's own. */
  giveAway(path: string): void;
  /** With everything below it. */
  giveAwayAll(path: string): void;
  /** Lets another key in, as a line in authorized_keys does. */
  authorize(line: string): Promise<void>;
  /** Ends the processes of all connections, as a network that fails does. @returns how many. */
  cut(): number;
  /** Ends and starts again, with other host keys where that is asked for. */
  restart(options?: { newHostKey?: boolean }): Promise<void>;
  halt(): Promise<void>;
  stop(): Promise<void>;
  log(): string;
}

interface ServerOptions {
  /** Requests that the server says it does not know, such as `hardlink`. */
  without?: readonly string[];
  /** A program to start it within, such as one that sees a disk of its own. */
  within?: readonly string[];
}

const account = isRoot ? { uid: NOBODY, gid: NOBODY } : undefined;

function own(path: string): void {
  if (account !== undefined) chownSync(path, account.uid, account.gid);
}

function sshKeygen(path: string): Promise<void> {
  return ended(spawn(tool('ssh-keygen').path, ['-q', '-t', 'ed25519', '-N', '', '-f', path]));
}

async function ended(child: ChildProcess): Promise<void> {
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${child.spawnfile} ended with ${String(code)}`);
}

export function fingerprintOf(publicKeyLine: string): SftpHostKey {
  const [type = '', blob = ''] = publicKeyLine.split(' ');
  const digest = createHash('sha256').update(Buffer.from(blob, 'base64')).digest('base64');
  return { type, fingerprint: `SHA256:${digest.replace(/=+$/, '')}` };
}

/** @throws Error that says what is missing, as root whose folders nobody else may enter. */
export async function startSftpServer(options: ServerOptions = {}): Promise<SftpServer> {
  if (isRoot && !othersMayPass)
    throw new Error('As root, the account nobody must be able to enter this project and its temporaries');
  const top = await mkdtemp(join(tmpdir(), 'holdfast-sshd-'));
  await chmod(top, 0o711);
  const keys = join(top, 'keys');
  await mkdir(keys);
  const port = await freePort();
  let generation = 0;
  let hostKey: SftpHostKey = { type: '', fingerprint: '' };
  const makeHostKey = async () => {
    const file = join(keys, `host-${String(++generation)}`);
    await sshKeygen(file);
    own(file);
    hostKey = fingerprintOf(readFileSync(`${file}.pub`, 'utf8'));
  };
  await makeHostKey();
  await sshKeygen(join(keys, 'client'));
  const privateKey = readFileSync(join(keys, 'client'), 'utf8');
  await chmod(keys, 0o711);
  await chmod(join(keys, 'client.pub'), 0o644);

  let child: ChildProcess;
  let log = '';
  const start = async () => {
    const config = join(keys, 'sshd_config');
    await writeFile(config, configOf({ port, keys, generation, without: options.without ?? [] }));
    await chmod(config, 0o644);
    const [program, ...args] = [...(options.within ?? []), tool('sshd').path, '-D', '-e', '-f', config];
    child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      ...account,
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
    await waitFor(
      'sshd to listen',
      async () => {
        if (child.exitCode !== null) throw new Error(`sshd ended:\n${log}`);
        return answers(port);
      },
      15_000,
    );
  };
  const halt = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    await gone;
  };
  const sessions = () => childrenOf(child.pid ?? 0);
  const cut = () => {
    // The session's own process may have another below it.
    const found = sessions().flatMap((pid) => [...childrenOf(pid), pid]);
    for (const pid of found) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended meanwhile.
      }
    }
    return found.length;
  };
  await start();
  const username = account === undefined ? userInfo().username : 'nobody';
  return {
    ...{ top, port, username, privateKey, cut },
    get hostKey() {
      return hostKey;
    },
    makeFolder: async (name) => {
      const path = join(top, name);
      await mkdir(path, { recursive: true });
      if (account !== undefined) await chown(path, account.uid, account.gid);
      return path;
    },
    giveAway: own,
    giveAwayAll: (path) => {
      own(path);
      for (const name of readdirSync(path, { recursive: true, encoding: 'utf8' })) own(join(path, name));
    },
    authorize: (line) => appendFile(join(keys, 'client.pub'), `${line}\n`),
    config: (path) => ({
      ...{ kind: 'sftp', host: '127.0.0.1', ownMachine: true, port, username, path, hostKey },
      signIn: { kind: 'private-key', privateKey },
    }),
    async restart({ newHostKey = false } = {}) {
      cut();
      await halt();
      if (newHostKey) await makeHostKey();
      await start();
    },
    halt: async () => {
      cut();
      await halt();
    },
    async stop() {
      cut();
      await halt();
      await rm(top, { recursive: true, force: true });
    },
    log: () => log,
  };
}

function configOf(facts: {
  port: number;
  keys: string;
  generation: number;
  without: readonly string[];
}): string {
  const programs = join(TOOLS_DIRECTORY, 'usr', 'lib', 'openssh');
  const parts = (['sshd-session', 'sshd-auth'] as const)
    .filter((name) => existsSync(join(programs, name)))
    .map((name) => `${name === 'sshd-session' ? 'SshdSessionPath' : 'SshdAuthPath'} ${join(programs, name)}`);
  const refused = facts.without.length === 0 ? '' : ` -P ${facts.without.join(',')}`;
  return [
    'ListenAddress 127.0.0.1',
    `Port ${String(facts.port)}`,
    `HostKey ${join(facts.keys, `host-${String(facts.generation)}`)}`,
    'PidFile none',
    `AuthorizedKeysFile ${join(facts.keys, 'client.pub')}`,
    'StrictModes no',
    'UsePAM yes',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'MaxStartups 100',
    `Subsystem sftp internal-sftp${refused}`,
    ...parts,
    '',
  ].join('\n');
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8')
      .split(' ')
      .filter((text) => text.trim() !== '')
      .map(Number);
  } catch {
    return [];
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

export interface PasswordServer {
  port: number;
  hostKey: SftpHostKey;
  config(path: string, password: string): SftpConfig;
  stop(): Promise<void>;
}

/**
 * Takes one user with one password, and hands the channel to OpenSSH's sftp-server, which runs as this account.
 *
 * @param admit is waited for before the password is accepted.
 */
export async function startPasswordServer(
  user: string,
  password: string,
  admit: () => Promise<void> = async () => undefined,
): Promise<PasswordServer> {
  const { privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  });
  const parsed = ssh2.utils.parseKey(privateKey);
  if (parsed instanceof Error) throw parsed;
  const hostKey = fingerprintOf(`ssh-rsa ${parsed.getPublicSSH().toString('base64')}`);
  const { path } = tool('sftp-server');
  const server = new ssh2.Server({ hostKeys: [privateKey] }, (client) => {
    client.on('error', () => undefined);
    client.on('authentication', (context) => {
      const right = context.method === 'password' && context.username === user;
      if (right && context.password === password) void admit().then(() => context.accept());
      else context.reject(['password']);
    });
    client.on('session', (accept) => {
      accept().on('subsystem', (acceptChannel, _reject, info) => {
        if (info.name !== 'sftp') return;
        const channel = acceptChannel();
        const program = spawn(path, { stdio: ['pipe', 'pipe', 'ignore'] });
        channel.pipe(program.stdin);
        program.stdout.pipe(channel);
        program.stdin.on('error', () => undefined);
        channel.on('close', () => program.kill());
      });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    ...{ port, hostKey },
    config: (folder, given) => ({
      ...{ kind: 'sftp', host: '127.0.0.1', ownMachine: true, port, username: user, path: folder, hostKey },
      signIn: { kind: 'password', password: given },
    }),
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
