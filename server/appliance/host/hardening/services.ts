/** What runs, what listens, what is confined, what is written down. */
import type { HardeningCheck } from './report.ts';
import { fail, pass, textOf } from './kernel.ts';
import { isSshOpen, type SystemView } from './view.ts';

/** Section 2.1: none of these has a place here. */
const UNWANTED = [
  ...[
    'avahi-daemon',
    'cups',
    'isc-dhcp-server',
    'bind9',
    'named',
    'dnsmasq',
    'vsftpd',
    'slapd',
    'dovecot',
    'nfs-server',
  ],
  ...[
    'ypserv',
    'rpcbind',
    'rsync',
    'smbd',
    'snmpd',
    'tftpd-hpa',
    'squid',
    'apache2',
    'nginx',
    'xinetd',
    'autofs',
  ],
  ...['postfix', 'exim4', 'cron', 'atd', 'ssh', 'systemd-timesyncd', 'rsyslog'],
];
const CLIENTS = ['telnet', 'ftp', 'tnftp', 'rsh-client', 'nis', 'ldapsearch', 'talk'];
const COMPILERS = ['gcc', 'cc', 'c++', 'g++', 'clang', 'ld', 'as', 'make', 'go', 'rustc'];
const PACKAGE_MANAGERS = ['apt', 'apt-get', 'aptitude', 'dpkg', 'snap', 'npm', 'pip', 'pip3'];
const BIN_FOLDERS = ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin'];
const PROFILES = ['holdfast-server', 'holdfast-worker', 'holdfast-keyd'];
/** 127.0.0.0/8, its form in IPv6, and ::1, as the kernel prints them: groups of four bytes, each in the order of the processor. */
const LOOPBACK = /^([0-9A-F]{6}7F|0{16}F{4}0{4}[0-9A-F]{6}7F|0{24}01000000):/;

export const serviceChecks: readonly HardeningCheck[] = [
  ...UNWANTED.map(unwantedCheck),
  programsAbsent('clients-absent', '2.2', 'No clients of old protocols', CLIENTS),
  programsAbsent('compilers-absent', 'beyond', 'No compilers', COMPILERS),
  programsAbsent('package-managers-absent', '1.2', 'No package manager', PACKAGE_MANAGERS),
  enabledCheck('chrony', '2.3.1', 'Time comes from chrony', 'chrony.service'),
  enabledCheck('auditd', '6.2.1', 'The audit service starts', 'auditd.service'),
  enabledCheck('firewall-starts', '4.3', 'The packet filter starts', 'holdfast-firewall.service'),
  {
    id: 'ssh-closed',
    cis: '5.1',
    title: 'SSH is off',
    look: async (view) =>
      (await isSshOpen(view)) ? fail('It is open') : pass('Only the owner opens it, for a limited time'),
  },
  {
    id: 'ssh-unwanted',
    cis: '5.1',
    title: 'No start of the machine starts SSH',
    look: async (view) => {
      const wanted = await wantedBy(view, 'holdfast-ssh.service');
      return wanted.length === 0 ? pass('Nothing starts it') : fail(`${wanted.join(', ')} starts it`);
    },
  },
  maskedCheck('ssh-masked', "Debian's own SSH service cannot start", 'ssh.service'),
  maskedCheck('ssh-socket-masked', "Debian's own SSH socket cannot start", 'ssh.socket'),
  maskedCheck('getty-masked', 'No login on a screen', 'getty@.service'),
  maskedCheck('serial-getty-masked', 'No login on a serial line', 'serial-getty@.service'),
  maskedCheck('debug-shell-masked', 'No debug shell', 'debug-shell.service'),
  maskedCheck('ctrl-alt-del-masked', 'The keyboard does not restart the machine', 'ctrl-alt-del.target'),
  {
    id: 'firewall-closed',
    cis: '4.3.8',
    title: 'The packet filter refuses what it does not name, in, out and through',
    look: async (view) => {
      const rules = view.live
        ? await view.command('nft', ['list', 'table', 'inet', 'holdfast'])
        : await view.read('/etc/holdfast/firewall.nft');
      const closed = [...(rules ?? '').matchAll(/hook (input|forward|output) [^;]*;\s*policy drop;/g)].map(
        ([, hook]) => hook,
      );
      return new Set(closed).size === 3
        ? pass('Three chains, each closed')
        : fail(`Closed: ${closed.join(', ') || 'none'}`);
    },
  },
  {
    id: 'listeners',
    cis: '2.1.22',
    title: 'Only the pages listen on the network',
    look: async (view) => {
      if (!view.live) return { state: 'not-checked', reason: 'Only a running machine can tell' };
      const ports = [
        ...listeners(await view.read('/proc/net/tcp')),
        ...listeners(await view.read('/proc/net/tcp6')),
      ];
      const wanted = [80, 443, ...((await isSshOpen(view)) ? [22] : [])];
      const more = ports.filter((port) => !wanted.includes(port));
      return more.length === 0
        ? pass(`Ports: ${[...new Set(ports)].join(', ')}`)
        : fail(`Also: ${more.join(', ')}`);
    },
  },
  {
    id: 'apparmor-on',
    cis: '1.3.1.2',
    title: 'AppArmor is on',
    look: async (view) => {
      if (!view.live) return { state: 'not-checked', reason: 'Only a running machine can tell' };
      const enabled = (await view.read('/sys/module/apparmor/parameters/enabled'))?.trim();
      return enabled === 'Y' ? pass('In the kernel') : fail('The kernel has it off');
    },
  },
  ...PROFILES.map((name): HardeningCheck => ({
    id: `apparmor-${name}`,
    cis: '1.3.1.4',
    title: `The profile ${name} is enforced`,
    look: async (view) => {
      const text = await view.read(`/etc/apparmor.d/${name}`);
      if (text === undefined) return fail('There is no such profile');
      if (/flags=\([^)]*(complain|unconfined)/.test(text)) return fail('It only complains');
      if (!view.live) return pass('It is there, and not one that only complains');
      const loaded = (await view.read('/sys/kernel/security/apparmor/profiles')) ?? '';
      return loaded.includes(`${name} (enforce)`) ? pass('Enforced') : fail('It is not loaded');
    },
  })),
  {
    id: 'audit-immutable',
    cis: '6.2.3.20',
    title: 'The audit rules cannot be changed while the machine runs',
    look: async (view) =>
      /^-e 2\s*$/m.test(await textOf(view, '/etc/audit/rules.d'))
        ? pass('-e 2')
        : fail('They can be changed'),
  },
  {
    id: 'audit-rules',
    cis: '6.2.3',
    title: 'Time, names, mounts, modules, accounts and our own settings are audited',
    look: async (view) => {
      const rules = await textOf(view, '/etc/audit/rules.d');
      const missing = [
        'time',
        'system-name',
        'mount',
        'modules',
        'accounts',
        'audit',
        'holdfast',
        'root-key',
      ].filter((key) => !new RegExp(`-k ${key}\\s*$`, 'm').test(rules));
      return missing.length === 0 ? pass('All of them') : fail(`Without rules for ${missing.join(', ')}`);
    },
  },
  {
    id: 'journal-kept',
    cis: '6.1.1',
    title: 'The journal is bounded, kept, and goes nowhere else',
    look: async (view) => {
      const text = await textOf(view, '/etc/systemd/journald.conf.d');
      const wanted = ['Storage=auto', 'ForwardToSyslog=no', 'ForwardToConsole=no', 'SystemMaxUse='];
      const missing = wanted.filter((line) => !text.includes(`\n${line}`));
      if (missing.length > 0) return fail(`Not set: ${missing.join(', ')}`);
      if (!view.live) return pass('As configured');
      return (await view.stat('/var/log/journal')) === undefined
        ? fail('It is in memory only')
        : pass('On the data volume');
    },
  },
];

function unwantedCheck(name: string): HardeningCheck {
  return {
    id: `service-${name}-off`,
    cis:
      name === 'systemd-timesyncd' ? '2.3.2' : name === 'ssh' ? '5.1' : name === 'rsyslog' ? '6.1.2' : '2.1',
    title: `The service ${name} does not start`,
    look: async (view) => {
      const wanted = await wantedBy(view, `${name}.service`);
      const socket = await wantedBy(view, `${name}.socket`);
      if (wanted.length + socket.length > 0) return fail(`${[...wanted, ...socket].join(', ')} starts it`);
      const active = await view.command('systemctl', ['is-active', `${name}.service`]);
      return active?.trim() === 'active' ? fail('It runs') : pass('Nothing starts it');
    },
  };
}

function enabledCheck(id: string, cis: string, title: string, unit: string): HardeningCheck {
  return {
    id,
    cis,
    title,
    look: async (view) => {
      const wanted = await wantedBy(view, unit);
      if (wanted.length === 0) return fail(`Nothing starts ${unit}`);
      if (!view.live) return pass(`Started by ${wanted.join(', ')}`);
      const active = (await view.command('systemctl', ['is-active', unit]))?.trim();
      return active === 'active' ? pass('It runs') : fail('It does not run');
    },
  };
}

function maskedCheck(id: string, title: string, unit: string): HardeningCheck {
  return {
    id,
    cis: 'beyond',
    title,
    look: async (view) =>
      (await view.link(`/etc/systemd/system/${unit}`)) === '/dev/null'
        ? pass(`${unit} is masked`)
        : fail(`${unit} could start`),
  };
}

function programsAbsent(id: string, cis: string, title: string, names: readonly string[]): HardeningCheck {
  return {
    id,
    cis,
    title,
    look: async (view) => {
      const present: string[] = [];
      for (const folder of BIN_FOLDERS) {
        const there = new Set(await view.list(folder));
        present.push(...names.filter((name) => there.has(name)).map((name) => `${folder}/${name}`));
      }
      return present.length === 0 ? pass('None of them is here') : fail(present.join(', '));
    },
  };
}

/** The targets that pull a unit in, by links in the folders where they are kept. */
async function wantedBy(view: SystemView, unit: string): Promise<string[]> {
  const found: string[] = [];
  for (const top of ['/etc/systemd/system', '/usr/lib/systemd/system']) {
    for (const folder of await view.list(top)) {
      if (!/\.(wants|requires)$/.test(folder)) continue;
      if ((await view.list(`${top}/${folder}`)).includes(unit)) found.push(folder.replace(/\.\w+$/, ''));
    }
  }
  return found;
}

/** Ports of sockets that listen on more than the loopback addresses. */
function listeners(table: string | undefined): number[] {
  return (table ?? '')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state]) => state === '0A')
    .filter(([, local = '']) => !LOOPBACK.test(local))
    .map(([, local = '']) => Number.parseInt(local.split(':')[1] ?? '', 16));
}
