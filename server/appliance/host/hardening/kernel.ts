/** Kernel, modules, mounts, boot. */
import type { Finding, HardeningCheck } from './report.ts';
import type { SystemView } from './view.ts';

const NEEDS_RUNNING: Finding = { state: 'not-checked', reason: 'Only a running machine can tell' };

const MODULES: [section: string, names: string[]][] = [
  ['1.1.1', ['cramfs', 'freevxfs', 'hfs', 'hfsplus', 'jffs2', 'udf', 'usb-storage']],
  ['3.2', ['dccp', 'tipc', 'rds', 'sctp']],
  ['beyond', ['firewire-core', 'thunderbolt', 'bluetooth', 'atm', 'can']],
];

/** Section, name, values that are good. */
const SYSCTLS: [section: string, name: string, values: string[]][] = [
  ['1.5.1', 'kernel.randomize_va_space', ['2']],
  ['1.5.2', 'kernel.yama.ptrace_scope', ['1', '2', '3']],
  ['1.5.3', 'fs.suid_dumpable', ['0']],
  ['3.3.1', 'net.ipv4.ip_forward', ['0']],
  ['3.3.1', 'net.ipv6.conf.all.forwarding', ['0']],
  ['3.3.1', 'net.ipv6.conf.default.forwarding', ['0']],
  ['3.3.2', 'net.ipv4.conf.all.send_redirects', ['0']],
  ['3.3.2', 'net.ipv4.conf.default.send_redirects', ['0']],
  ['3.3.3', 'net.ipv4.icmp_ignore_bogus_error_responses', ['1']],
  ['3.3.4', 'net.ipv4.icmp_echo_ignore_broadcasts', ['1']],
  ['3.3.5', 'net.ipv4.conf.all.accept_redirects', ['0']],
  ['3.3.5', 'net.ipv4.conf.default.accept_redirects', ['0']],
  ['3.3.5', 'net.ipv6.conf.all.accept_redirects', ['0']],
  ['3.3.6', 'net.ipv4.conf.all.secure_redirects', ['0']],
  ['3.3.7', 'net.ipv4.conf.all.rp_filter', ['1', '2']],
  ['3.3.8', 'net.ipv4.conf.all.accept_source_route', ['0']],
  ['3.3.8', 'net.ipv6.conf.all.accept_source_route', ['0']],
  ['3.3.9', 'net.ipv4.conf.all.log_martians', ['1']],
  ['3.3.10', 'net.ipv4.tcp_syncookies', ['1']],
  ['3.3.8', 'net.ipv6.conf.default.accept_source_route', ['0']],
  ['3.3.11', 'net.ipv6.conf.all.accept_ra', ['0']],
  ['3.3.11', 'net.ipv6.conf.default.accept_ra', ['0']],
  ['beyond', 'kernel.kptr_restrict', ['1', '2']],
  ['beyond', 'kernel.dmesg_restrict', ['1']],
  ['beyond', 'kernel.unprivileged_bpf_disabled', ['1', '2']],
  ['beyond', 'kernel.kexec_load_disabled', ['1']],
  ['beyond', 'kernel.sysrq', ['0']],
  ['beyond', 'kernel.perf_event_paranoid', ['3', '4']],
  ['beyond', 'fs.protected_symlinks', ['1']],
  ['beyond', 'fs.protected_hardlinks', ['1']],
  ['beyond', 'fs.protected_fifos', ['2']],
  ['beyond', 'fs.protected_regular', ['2']],
];

/** Section, place, options that it must have. */
const MOUNTS: [section: string, place: string, options: string[]][] = [
  ['1.1.2.1', '/tmp', ['nodev', 'nosuid', 'noexec']],
  ['1.1.2.2', '/dev/shm', ['nodev', 'nosuid', 'noexec']],
  ['1.1.2.5', '/var/tmp', ['nodev', 'nosuid', 'noexec']],
  ['1.1.2.4', '/var', ['nodev', 'nosuid']],
  ['beyond', '/', ['ro']],
  ['beyond', '/data', ['nodev', 'nosuid', 'noexec']],
  ['beyond', '/state', ['nodev', 'nosuid']],
  ['beyond', '/boot', ['nodev', 'nosuid', 'noexec']],
];

export const kernelChecks: readonly HardeningCheck[] = [
  ...MODULES.flatMap(([cis, names]) => names.map((name) => moduleCheck(cis, name))),
  ...SYSCTLS.map(([cis, name, values]) => sysctlCheck(cis, name, values)),
  ...MOUNTS.map(([cis, place, options]) => mountCheck(cis, place, options)),
  {
    id: 'swap-off',
    cis: 'beyond',
    title: 'Keys cannot reach a swap area',
    look: async (view) => {
      const inTable = (await view.read('/etc/fstab'))?.match(/^[^#\n]*\sswap\s/m);
      if (inTable) return fail('/etc/fstab names a swap area');
      const active = view.live ? ((await view.read('/proc/swaps')) ?? '').trim().split('\n').slice(1) : [];
      return active.length === 0 ? pass('There is none') : fail(`In use: ${active.length}`);
    },
  },
  {
    id: 'core-dumps-off',
    cis: '1.5.3',
    title: 'No memory of a process is written to disk',
    look: async (view) => {
      const limits = await textOf(view, '/etc/security/limits.d');
      // root takes no part in what is said of everybody.
      if (!['\\*', 'root'].every((who) => new RegExp(`^${who}\\s+hard\\s+core\\s+0\\s*$`, 'm').test(limits)))
        return fail('The limit of core dumps is not zero');
      if (/^\S+\s+(hard|-)\s+core\s+(?!0\s*$)/m.test(limits))
        return fail('A file raises the limit of core dumps');
      const dumps = await textOf(view, '/etc/systemd/coredump.conf.d');
      return /^Storage=none$/m.test(dumps)
        ? pass('Limit 0, nothing stored')
        : fail('systemd may store core dumps');
    },
  },
  {
    id: 'verity',
    cis: '6.3',
    title: 'The system is checked block by block against the hash it was built with (in place of AIDE)',
    look: async (view) => {
      if (!view.live) return NEEDS_RUNNING;
      const line = (await view.read('/proc/cmdline')) ?? '';
      return /(^|\s)holdfast\.roothash=[0-9a-f]{64}(\s|$)/.test(line)
        ? pass('dm-verity')
        : fail('The boot loader named no root hash');
    },
  },
  {
    id: 'data-encrypted',
    cis: 'beyond',
    title: 'The data volume is encrypted',
    look: async (view) => {
      if (!view.live) return NEEDS_RUNNING;
      const device = mountOf(await view.read('/proc/self/mounts'), '/data')?.device ?? '';
      const kind = await view.command('lsblk', ['--noheadings', '--output', 'TYPE', '--nodeps', device]);
      return kind?.trim() === 'crypt' ? pass(device) : fail('/data is not on an encrypted volume');
    },
  },
  {
    id: 'boot-loader-closed',
    cis: '1.4.2',
    title: "Only root reads the boot loader's configuration",
    look: async (view) => {
      const stats = await view.stat('/boot/grub/grub.cfg');
      if (stats === undefined) return view.live ? fail('There is no /boot/grub/grub.cfg') : NEEDS_RUNNING;
      return stats.uid === 0 && (stats.mode & 0o077) === 0 ? pass('0600, root') : fail('Others may read it');
    },
  },
];

function moduleCheck(cis: string, name: string): HardeningCheck {
  return {
    id: `module-${name}`,
    cis,
    title: `The kernel module ${name} cannot be loaded`,
    look: async (view) => {
      const rules = (await textOf(view, '/etc/modprobe.d')) + (await textOf(view, '/usr/lib/modprobe.d'));
      const pattern = name.replaceAll(/[-_]/g, '[-_]');
      if (
        view.live &&
        new RegExp(`^${pattern.replaceAll('-', '')} `, 'm').test((await view.read('/proc/modules')) ?? '')
      )
        return fail('It is loaded');
      return new RegExp(`^install\\s+${pattern}\\s+/(usr/)?bin/(false|true)\\s*$`, 'm').test(rules)
        ? pass('modprobe is told to refuse it')
        : fail('Nothing keeps it from being loaded');
    },
  };
}

function sysctlCheck(cis: string, name: string, values: readonly string[]): HardeningCheck {
  return {
    id: `sysctl-${name}`,
    cis,
    title: `${name} is ${values.join(' or ')}`,
    look: async (view) => {
      const found = view.live
        ? (await view.read(`/proc/sys/${name.replaceAll('.', '/')}`))?.trim()
        : await configuredSysctl(view, name);
      if (found === undefined) return fail('It is not set');
      return values.includes(found) ? pass(`It is ${found}`) : fail(`It is ${found}`);
    },
  };
}

/** As `sysctl --system` reads them: by file name, the last one counts. */
async function configuredSysctl(view: SystemView, name: string): Promise<string | undefined> {
  const files = new Map<string, string>();
  for (const folder of ['/usr/lib/sysctl.d', '/etc/sysctl.d'])
    for (const file of await view.list(folder)) files.set(file, `${folder}/${file}`);
  let value: string | undefined;
  for (const [, path] of [...files].sort(([left], [right]) => (left < right ? -1 : 1))) {
    for (const line of ((await view.read(path)) ?? '').split('\n')) {
      const [key = '', given] = line.split('=').map((part) => part.trim());
      if (key.replace(/^-/, '').replaceAll('/', '.') === name && given !== undefined) value = given;
    }
  }
  return value;
}

function mountCheck(cis: string, place: string, options: readonly string[]): HardeningCheck {
  return {
    id: `mount-${place === '/' ? 'root' : place.slice(1).replaceAll('/', '-')}`,
    cis,
    title: `${place} is mounted ${options.join(', ')}`,
    look: async (view) => {
      if (!view.live) return NEEDS_RUNNING;
      const mount = mountOf(await view.read('/proc/self/mounts'), place);
      if (mount === undefined) return fail('It is no mount of its own');
      const missing = options.filter((option) => !mount.options.includes(option));
      return missing.length === 0 ? pass(mount.options.join(',')) : fail(`Without ${missing.join(', ')}`);
    },
  };
}

function mountOf(
  table: string | undefined,
  place: string,
): { device: string; options: string[] } | undefined {
  const line = (table ?? '').split('\n').findLast((one) => one.split(' ')[1] === place);
  if (line === undefined) return undefined;
  const [device = '', , , options = ''] = line.split(' ');
  return { device, options: options.split(',') };
}

/** All files of a configuration folder, one after the other. */
export async function textOf(view: SystemView, folder: string): Promise<string> {
  const texts = await Promise.all((await view.list(folder)).map((name) => view.read(`${folder}/${name}`)));
  return texts.map((text) => `${text ?? ''}\n`).join('');
}

export function pass(reason: string): Finding {
  return { state: 'pass', reason };
}

export function fail(reason: string): Finding {
  return { state: 'fail', reason };
}
