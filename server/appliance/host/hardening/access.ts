/** Accounts, ways in, and who may read and change which files. */
import type { Stats } from 'node:fs';
import type { HardeningCheck } from './report.ts';
import { fail, pass, textOf } from './kernel.ts';
import { SSH_ACCOUNT } from '../ssh/schema.ts';
import { isSshOpen, type SystemView } from './view.ts';

/** Section, path, the most that its mode may be. */
const CLOSED_FILES: [section: string, path: string, mode: number][] = [
  ['7.1.1', '/etc/passwd', 0o644],
  ['7.1.3', '/etc/group', 0o644],
  ['7.1.5', '/etc/shadow', 0o640],
  ['7.1.7', '/etc/gshadow', 0o640],
  ['7.1.9', '/etc/shells', 0o644],
  ['beyond', '/etc/holdfast/holdfast.env', 0o644],
  ['beyond', '/opt/holdfast/server/main.ts', 0o644],
];
/** Lines of Debian's sshd, should anything ever start it; the one that the owner opens has a configuration of its own. */
const SSHD = [
  ...[
    'PermitRootLogin no',
    'PasswordAuthentication no',
    'X11Forwarding no',
    'AllowTcpForwarding no',
    'MaxAuthTries 3',
  ],
  ...['AuthenticationMethods publickey', 'LoginGraceTime 30'],
];
const TREES = ['/usr', '/etc', '/opt'];

export const accessChecks: readonly HardeningCheck[] = [
  ...CLOSED_FILES.map(closedFileCheck),
  ...SSHD.map(sshdCheck),
  {
    id: 'root-locked',
    cis: '5.4.2.4',
    title: 'No password opens root',
    look: async (view) => {
      const entry = (await accounts(view, '/etc/shadow')).find(([name]) => name === 'root');
      return entry !== undefined && /^[!*]/.test(entry[1] ?? '')
        ? pass('Locked')
        : fail('root has a password, or none is needed');
    },
  },
  {
    id: 'passwords-none',
    cis: '7.2.2',
    title: 'No account has a password of the operating system',
    look: async (view) => {
      const expected = await supportAccount(view);
      const open = (await accounts(view, '/etc/shadow')).filter(
        ([name, hash = '']) => !/^[!*]/.test(hash) && name !== expected,
      );
      return open.length === 0 ? pass('All are locked') : fail(open.map(([name]) => name).join(', '));
    },
  },
  {
    id: 'passwords-shadowed',
    cis: '7.2.1',
    title: 'Passwords are in /etc/shadow alone',
    look: async (view) => {
      const open = (await accounts(view, '/etc/passwd')).filter(([, word]) => word !== 'x');
      return open.length === 0 ? pass('All of them') : fail(open.map(([name]) => name).join(', '));
    },
  },
  {
    id: 'root-alone',
    cis: '5.4.2.1',
    title: 'Only root has the number 0',
    look: async (view) => {
      const roots = (await accounts(view, '/etc/passwd'))
        .filter(([, , uid]) => uid === '0')
        .map(([name]) => name);
      return roots.length === 1 && roots[0] === 'root' ? pass('root') : fail(roots.join(', '));
    },
  },
  {
    id: 'numbers-unique',
    cis: '7.2.5',
    title: 'No two accounts share a number or a name',
    look: async (view) => {
      const all = await accounts(view, '/etc/passwd');
      const unique = (column: number) => new Set(all.map((entry) => entry[column])).size === all.length;
      return unique(0) && unique(2) ? pass(`${all.length} accounts`) : fail('Some do');
    },
  },
  {
    id: 'service-accounts-closed',
    cis: '5.4.2.7',
    title: 'No account but root has a shell',
    look: async (view) => {
      const expected = ['root', 'sync', await supportAccount(view)];
      const open = (await accounts(view, '/etc/passwd')).filter(
        ([name, , , , , , shell = '']) => !expected.includes(name) && !/\/(nologin|false)$/.test(shell),
      );
      return open.length === 0 ? pass('nologin') : fail(open.map(([name]) => name).join(', '));
    },
  },
  {
    id: 'accounts-apart',
    cis: 'beyond',
    title: 'Each process has an account of its own, and only server and worker share a group',
    look: async (view) => {
      const names = (await accounts(view, '/etc/passwd')).map(([name]) => name);
      const missing = ['postgres', 'holdfast', 'holdfast-keyd', 'holdfast-worker'].filter(
        (name) => !names.includes(name),
      );
      if (missing.length > 0) return fail(`Missing: ${missing.join(', ')}`);
      const shared =
        (await accounts(view, '/etc/group')).find(([name]) => name === 'holdfast-data')?.[3] ?? '';
      return shared.split(',').sort().join(',') === 'holdfast,holdfast-worker'
        ? pass('As it should be')
        : fail(`holdfast-data has the members ${shared || 'none'}`);
    },
  },
  {
    id: 'setuid-none',
    cis: '7.1.13',
    title: 'No program raises rights',
    look: async (view) => {
      const found = await collect(view, TREES, (stats) => stats.isFile() && (stats.mode & 0o6000) !== 0);
      return found.length === 0 ? pass('Not one') : fail(found.slice(0, 20).join(', '));
    },
  },
  {
    id: 'world-writable-none',
    cis: '7.1.11',
    title: 'Nothing of the system may be changed by everybody',
    look: async (view) => {
      const found = await collect(
        view,
        TREES,
        (stats) => !stats.isSymbolicLink() && (stats.mode & 0o002) !== 0,
      );
      return found.length === 0 ? pass('Nothing') : fail(found.slice(0, 20).join(', '));
    },
  },
  {
    id: 'sudo-none',
    cis: '5.2',
    title: 'There is no sudo',
    look: async (view) => {
      const found = (await view.list('/usr/bin')).filter((name) => ['sudo', 'doas', 'pkexec'].includes(name));
      return found.length === 0 ? pass('None') : fail(found.join(', '));
    },
  },
  {
    id: 'host-keys-own',
    cis: '5.1.2',
    title: 'The image brings no host keys of its own',
    look: async (view) => {
      const keys = (await view.list('/etc/ssh')).filter((name) => /^ssh_host_.*_key$/.test(name));
      if (keys.length === 0) return pass('None');
      return view.live ? pass('Made on this machine') : fail(keys.join(', '));
    },
  },
  {
    id: 'banner-silent',
    cis: '1.6.2',
    title: 'No banner tells the version of the system',
    look: async (view) => {
      const texts = await Promise.all(
        ['/etc/issue', '/etc/issue.net', '/etc/motd'].map((path) => view.read(path)),
      );
      const talking = texts.some((text) => /\\[mrsv]|debian/i.test(text ?? ''));
      return talking ? fail('One does') : pass('None does');
    },
  },
];

function closedFileCheck([cis, path, most]: [string, string, number]): HardeningCheck {
  return {
    id: `file-${path.slice(1).replaceAll('/', '-')}`,
    cis,
    title: `${path} belongs to root and is no more open than ${most.toString(8)}`,
    look: async (view) => {
      const stats = await view.stat(path);
      if (stats === undefined) return fail('It is not there');
      const mode = stats.mode & 0o7777;
      const closed = stats.uid === 0 && (mode & ~most) === 0;
      return closed ? pass(mode.toString(8)) : fail(`Owner ${stats.uid}, mode ${mode.toString(8)}`);
    },
  };
}

function sshdCheck(line: string): HardeningCheck {
  const [keyword = '', value = ''] = line.split(' ');
  return {
    id: `sshd-${keyword.toLowerCase()}`,
    cis: '5.1',
    title: `Debian's sshd, which cannot start, would have: ${line}`,
    look: async (view) => {
      const text =
        (await textOf(view, '/etc/ssh/sshd_config.d')) + ((await view.read('/etc/ssh/sshd_config')) ?? '');
      // The first one counts.
      const found = new RegExp(`^\\s*${keyword}\\s+(\\S.*?)\\s*$`, 'im').exec(text)?.[1];
      return found === value ? pass(line) : fail(found === undefined ? 'It is not set' : `It is ${found}`);
    },
  };
}

/** Expected while SSH is open, left over otherwise. */
async function supportAccount(view: SystemView): Promise<string | undefined> {
  return (await isSshOpen(view)) ? SSH_ACCOUNT : undefined;
}

async function accounts(view: SystemView, path: string): Promise<string[][]> {
  const text = (await view.read(path)) ?? '';
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(':'));
}

async function collect(
  view: SystemView,
  trees: readonly string[],
  matches: (stats: Stats) => boolean,
): Promise<string[]> {
  const found: string[] = [];
  for (const tree of trees) {
    for await (const { path, stats } of view.walk(tree)) if (matches(stats)) found.push(path);
  }
  return found.sort();
}
