/**
 * Programs of other people that tests compare ours with: stock age, zstd, Python with `cryptography`. The test command puts
 * those that the machine lacks into .cache/tools; a test that finds one missing fails and says how to get it.
 */
import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

/** Where the fetched programs are started from: each with the libraries that came with it, whatever environment it is called in. */
export const STARTERS = 'run';
/** Folders of the packages that hold programs, and libraries: older packages put theirs below /lib. */
export const PROGRAMS = ['usr/bin', 'bin', 'usr/sbin', 'sbin', 'usr/lib/openssh'];
export const LIBRARIES = ['usr/lib', 'lib'].map((folder) =>
  join(folder, process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu'),
);
export const TOOLS_DIRECTORY = join(import.meta.dirname, '..', '..', '.cache', 'tools');

/** Debian packages that hold each tool. */
export const TOOL_PACKAGES = {
  age: ['age'],
  zstd: ['zstd'],
  packer: ['packer'],
  python3: ['python3-cryptography', 'python3-cffi-backend', 'python3-bcrypt'],
  rauc: ['rauc', 'libjson-glib-1.0-0'],
  mksquashfs: ['squashfs-tools', 'liblzo2-2'],
  openssl: ['openssl'],
  cryptsetup: [
    'cryptsetup-bin',
    'libcryptsetup12',
    'libpopt0',
    'libdevmapper1.02.1',
    'libjson-c5',
    'libargon2-1',
  ],
  pebble: ['pebble'],
  'pebble-challtestsrv': ['pebble'],
  nft: [
    'nftables',
    'libnftables1',
    'libedit2',
    'libmnl0',
    'libnftnl11',
    'libxtables12',
    'libjansson4',
    'libbsd0',
  ],
  ip: ['iproute2', 'libbpf1', 'libelf1', 'libmnl0', 'libxtables12', 'libbsd0', 'libtirpc3'],
  apparmor_parser: ['apparmor'],
  sshd: ['openssh-server', 'libwrap0'],
  'sftp-server': ['openssh-sftp-server'],
  ssh: ['openssh-client'],
  'ssh-keygen': ['openssh-client'],
  // Every Debian machine with a service manager has these; they cannot run from a folder of their own.
  'systemd-analyze': ['systemd'],
  'systemd-notify': ['systemd'],
  script: ['bsdutils'],
} as const;

export type ToolName = keyof typeof TOOL_PACKAGES;

export interface Tool {
  path: string;
  /** Environment that the tool needs to find its parts. */
  env: Record<string, string>;
}

const PYTHON_PARTS = join(TOOLS_DIRECTORY, 'usr', 'lib', 'python3', 'dist-packages');

/** @throws Error that says how to get it when the tool is missing. */
export function tool(name: ToolName): Tool {
  const path = findTool(name);
  if (path === undefined) {
    throw new Error(
      `The tests need ${name}. \`npm test\` fetches it where apt works; else install: ${TOOL_PACKAGES[name].join(' ')}`,
    );
  }
  return { path, env: toolEnvironment() };
}

/** Environment in which every tool is found by name. */
export function toolEnvironment(): Record<string, string> {
  const folders = [join(TOOLS_DIRECTORY, STARTERS), process.env.PATH ?? '/usr/bin:/bin'];
  return {
    PATH: folders.join(delimiter),
    PYTHONPATH: existsSync(PYTHON_PARTS) ? PYTHON_PARTS : '',
    LC_ALL: 'C.UTF-8',
  };
}

/** Where the tool is: fetched for the tests, else on the machine. */
export function findTool(name: ToolName): string | undefined {
  // Debian's own Python is the one that Debian's `cryptography` belongs to.
  const first = name === 'python3' ? ['/usr/bin'] : [];
  // Root's folders are not on everybody's path.
  const folders = [
    join(TOOLS_DIRECTORY, STARTERS),
    ...first,
    ...(process.env.PATH ?? '').split(delimiter),
    ...['/usr/sbin', '/sbin', '/usr/lib/openssh'],
  ];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/**
 * Puts programs on the path of this process, for commands and parts of the product that call them by name.
 *
 * @throws Error that says how to get what is missing.
 */
export function requireTools(...names: ToolName[]): void {
  const paths = names.map((name) => tool(name).path);
  const folders = [
    ...(process.env.PATH ?? '').split(delimiter),
    ...['/usr/sbin', '/sbin'],
    ...paths.map((path) => dirname(path)),
  ];
  process.env.PATH = [...new Set(folders)].join(delimiter);
}
