/** The machine for the test of SSH: a copy of this machine's /etc, a network of its own, keys and certificates, ssh as a client. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readlinkSync } from 'node:fs';
import { appendFile, chmod, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { connectHost, requireHost, type HostClient } from '../../../server/appliance/host/client.ts';
import { hostPlaces } from '../../../server/appliance/host/index.ts';
import { writeVolumeNote } from '../../../server/appliance/host/volume/note.ts';
import { findTool, TOOLS_DIRECTORY } from '../../helpers/tools.ts';
import { waitFor } from '../../helpers/wait-for.ts';

const SYSTEMD = join(import.meta.dirname, '..', '..', '..', 'systemd', 'system');
const run = promisify(execFile);

/** What somebody comes with. */
export interface Comer {
  /** Name of a certificate. */
  certificate?: string;
  /** The key without its certificate. */
  key?: boolean;
  passphrase?: string;
  user?: string;
}

export interface Visit {
  code: number;
  out: string;
  said: string;
}

export interface SshMachine {
  top: string;
  host(): HostClient;
  at(path: string): string;
  /** @param principals with commas between; @param valid as `ssh-keygen -V` takes it. All are for one key. */
  certify(name: string, by: string, principals: string, valid: string): Promise<void>;
  keygen(...args: string[]): Promise<unknown>;
  ssh(comer: Comer, command?: string, options?: readonly string[]): Promise<Visit>;
  /** Somebody who stays. */
  visit(comer: Comer): { entered: Promise<unknown>; left: Promise<number | null> };
  inNetwork(...command: string[]): Promise<string>;
  /** As a crash and a new start by systemd. @param seconds instead of those that an opening gives to the unit. */
  restartHostd(seconds?: string): Promise<void>;
  killHostd(): void;
  close(): Promise<void>;
}

export async function makeSshMachine(): Promise<SshMachine> {
  const top = await mkdtemp(join(tmpdir(), 'holdfast-test-ssh-'));
  const at = (path: string) => join(top, path);
  await layOut(top);
  const world = spawn('unshare', ['--net', 'sleep', '600'], { stdio: 'ignore' });
  const net = `--net=/proc/${world.pid}/ns/net`;
  await waitFor(
    'a network of its own',
    () => readlinkSync(`/proc/${world.pid}/ns/net`) !== readlinkSync('/proc/self/ns/net'),
  );
  await run('nsenter', [net, 'ip', 'link', 'set', 'lo', 'up']);
  let hostd: ChildProcess | undefined;
  /** Each visit comes from an address of its own: sshd keeps those away for a while who failed before. */
  let visits = 1;
  const keygen = (...args: string[]) => run('ssh-keygen', args);
  for (const name of ['authority', 'other-authority', 'mine'])
    await keygen('-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', at(name));

  const call = async (comer: Comer, command: string, options: readonly string[]) => {
    const secret = at('secret');
    await writeFile(secret, `${comer.passphrase ?? ''}\n`);
    return {
      args: [
        net,
        'ssh',
        ...clientOptions(top, comer),
        '-b',
        `127.0.0.${(visits += 1)}`,
        ...options,
        `${comer.user ?? 'holdfast-support'}@127.0.0.1`,
        command,
      ].filter((word) => word !== ''),
      env: { PATH: process.env.PATH, SSH_ASKPASS: at('ask'), SSH_ASKPASS_REQUIRE: 'force', DISPLAY: 'none' },
    };
  };
  const machine: SshMachine = {
    ...{ top, at, keygen },
    host: () => requireHost(connectHost({ hostSocket: at('run/holdfast/host.sock') })),
    async certify(name, by, principals, valid) {
      await cp(at('mine'), at(name));
      await cp(at('mine.pub'), at(`${name}.pub`));
      await keygen('-q', '-s', at(by), '-I', name, '-n', principals, '-V', valid, at(`${name}.pub`));
    },
    async ssh(comer, command = 'true', options = []) {
      const { args, env } = await call(comer, command, options);
      const ended = await run('nsenter', args, { env, timeout: 30_000 }).then(
        (done) => ({ code: 0, ...done }),
        (error: unknown) => error as { code: number; stdout: string; stderr: string },
      );
      return { code: ended.code, out: ended.stdout, said: ended.stderr };
    },
    visit(comer) {
      const entered = Promise.withResolvers<undefined>();
      const left = call(comer, 'echo inside; sleep 300', []).then(
        ({ args, env }) =>
          new Promise<number | null>((resolve) => {
            const child = spawn('nsenter', args, { env, stdio: ['ignore', 'pipe', 'ignore'] });
            child.stdout.once('data', () => entered.resolve(undefined));
            child.once('exit', (code) => {
              entered.reject(new Error(`ssh ended with ${code}`));
              resolve(code);
            });
          }),
      );
      return { entered: entered.promise, left };
    },
    inNetwork: async (...command) => (await run('nsenter', [net, ...command])).stdout,
    killHostd: () => void hostd?.kill('SIGKILL'),
    async restartHostd(seconds) {
      hostd?.kill('SIGKILL');
      await rm(at('run/holdfast/host.sock'), { force: true });
      hostd = await startHostd(top, net, seconds);
    },
    async close() {
      await machine
        .host()
        .send('DELETE', '/ssh', { actor: { kind: 'system' } })
        .catch(() => undefined);
      hostd?.kill('SIGKILL');
      world.kill('SIGKILL');
      await rm(top, { recursive: true, force: true });
    },
  };
  await machine.restartHostd();
  return machine;
}

async function layOut(top: string): Promise<void> {
  await chmod(top, 0o755);
  const places = hostPlaces(top);
  await cp('/etc', join(top, 'etc'), { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
  await cp(join(SYSTEMD, 'ssh.pam'), join(top, 'etc', 'pam.d', 'sshd'));
  for (const [file, line] of [
    ['passwd', 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin'],
    ['group', 'systemd-journal:x:65532:'],
  ] as const) {
    const path = join(top, 'etc', file);
    if (!(await readFile(path, 'utf8')).includes(`\n${line.split(':')[0]}:`))
      await appendFile(path, `${line}\n`);
  }
  for (const folder of [places.state, places.run, places.data]) await mkdir(folder, { recursive: true });
  await writeVolumeNote(places, {
    ...{ uuid: '0d9c1f4e-7a52-4c34-8f0b-0a1b2c3d4e5f', device: '/dev/vdb', claimed: true },
    ...{ wayId: null, unknownKeyslots: [], lostWays: [] },
  });
  await writeFile(join(top, 'ask'), `#!/bin/sh\ncat ${top}/secret\n`, { mode: 0o755 });
}

function clientOptions(top: string, { certificate, key }: Comer): string[] {
  const settings = [
    ...[
      'StrictHostKeyChecking=no',
      `UserKnownHostsFile=${top}/known-hosts`,
      'IdentitiesOnly=yes',
      'IdentityAgent=none',
    ],
    ...['NumberOfPasswordPrompts=1', 'ConnectTimeout=10', 'LogLevel=INFO'],
    ...(certificate === undefined ? [] : [`CertificateFile=${top}/${certificate}-cert.pub`]),
  ];
  const identity =
    certificate !== undefined || key === true ? `${top}/${certificate ?? 'mine'}` : '/dev/null';
  return ['-F', 'none', '-i', identity, ...settings.flatMap((setting) => ['-o', setting])];
}

async function startHostd(top: string, net: string, seconds?: string): Promise<ChildProcess> {
  const sshd = findTool('sshd') ?? '';
  // Newer ones consist of several programs, which lie where they were built to be.
  const parts = join(TOOLS_DIRECTORY, 'usr', 'lib', 'openssh');
  const fetched = sshd.startsWith(TOOLS_DIRECTORY) && existsSync(join(parts, 'sshd-session'));
  const script = `mount --bind ${top}/etc /etc && mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && ${
    fetched ? `mount --bind ${parts} /usr/lib/openssh &&` : ''
  } exec "$@"`;
  const words = [process.execPath, join(import.meta.dirname, 'ssh-hostd-child.ts'), top, sshd];
  const child = spawn(
    'nsenter',
    [
      net,
      'unshare',
      '--mount',
      '--propagation=private',
      'sh',
      '-c',
      script,
      'sh',
      ...words,
      ...(seconds === undefined ? [] : [seconds]),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('exit', (code) => reject(new Error(`hostd ended with ${code}`)));
  });
  return child;
}
