import { spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  checkHardening,
  hardeningChecks,
  readHardeningExceptions,
} from '../../server/appliance/host/hardening/report.ts';
import { viewSystem } from '../../server/appliance/host/hardening/view.ts';
import { isRoot } from '../helpers/other-account.ts';

const project = join(import.meta.dirname, '..', '..');
let root = '';

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdfast-test-root-'));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

describe('the list of hardening items', () => {
  it('has each id once, and an exception only for an item that there is', async () => {
    const ids = hardeningChecks.map((check) => check.id);

    expect(new Set(ids).size).toBe(ids.length);
    expect(Object.keys(await readHardeningExceptions()).filter((id) => !ids.includes(id))).toEqual([]);
  });
});

describe('the hardening report of a tree', () => {
  it('of which nothing is hardened fails, item by item, and never takes this machine for the tree', async () => {
    const { items, counts } = await checkHardening(root);

    expect(counts.fail).toBeGreaterThan(60);
    expect(stateOf(items, 'sysctl-kernel.randomize_va_space')).toBe('fail');
    expect(stateOf(items, 'listeners')).toBe('not-checked');
    expect(stateOf(items, 'root-locked')).toBe('fail');
  });

  it.skipIf(!isRoot)('that our files were put into passes what they are for', async () => {
    const installed = spawnSync(join(project, 'systemd', 'install.sh'), [root], { encoding: 'utf8' });
    expect(installed.stderr).toBe('');
    const { items } = await checkHardening(root);

    const ours = items.filter(({ id }) =>
      /^(module-|sysctl-|apparmor-holdfast|audit-|firewall-|journal-kept)/.test(id),
    );
    expect(ours.filter(({ state }) => state !== 'pass')).toEqual([]);
    expect(ours.length).toBeGreaterThan(50);
  });

  it.each([
    [
      'a later file that sets it back',
      'etc/sysctl.d/99-other.conf',
      'kernel.kptr_restrict = 0\n',
      'sysctl-kernel.kptr_restrict',
    ],
    [
      'a profile that only complains',
      'etc/apparmor.d/holdfast-keyd',
      'profile x flags=(complain) {}\n',
      'apparmor-holdfast-keyd',
    ],
    [
      'rules with an open chain',
      'etc/holdfast/firewall.nft',
      'type filter hook input priority 0; policy accept;\n',
      'firewall-closed',
    ],
    ['a second root', 'etc/passwd', 'root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\n', 'root-alone'],
    ['a compiler', 'usr/bin/gcc', '', 'compilers-absent'],
    [
      'sshd with passwords',
      'etc/ssh/sshd_config',
      'PasswordAuthentication yes\n',
      'sshd-passwordauthentication',
    ],
  ])('%s is noticed', async (_what, path, content, id) => {
    spawnSync(join(project, 'systemd', 'install.sh'), [root]);
    await put(path, content);

    expect(stateOf((await checkHardening(root)).items, id)).toBe('fail');
  });

  it('a program that raises rights is named', async () => {
    await put('usr/bin/su', '');
    await chmod(join(root, 'usr/bin/su'), 0o4755);

    const found = (await checkHardening(root)).items.find(({ id }) => id === 'setuid-none');

    expect(found).toMatchObject({ state: 'fail', reason: '/usr/bin/su' });
  });

  it('a link in the tree leads to a place in the tree', async () => {
    await put('real/issue', 'Debian \\r\n');
    await mkdir(join(root, 'etc'), { recursive: true });
    await symlink('/real/issue', join(root, 'etc/issue'));

    expect(stateOf((await checkHardening(root)).items, 'banner-silent')).toBe('fail');
  });

  it('what is enabled by a link of a target is found, and what is not is said', async () => {
    await mkdir(join(root, 'etc/systemd/system/multi-user.target.wants'), { recursive: true });
    await symlink(
      '/usr/lib/systemd/system/cron.service',
      join(root, 'etc/systemd/system/multi-user.target.wants/cron.service'),
    );

    const { items } = await checkHardening(root);

    expect(stateOf(items, 'service-cron-off')).toBe('fail');
    expect(stateOf(items, 'service-cups-off')).toBe('pass');
    expect(stateOf(items, 'auditd')).toBe('fail');
  });

  it('SSH is off where nothing starts it, and what the image masks is seen to be masked', async () => {
    await mkdir(join(root, 'etc/systemd/system'), { recursive: true });
    for (const unit of ['ssh.service', 'ssh.socket'])
      await symlink('/dev/null', join(root, 'etc/systemd/system', unit));
    const off = (await checkHardening(root)).items;
    await mkdir(join(root, 'etc/systemd/system/multi-user.target.wants'));
    await symlink(
      '/usr/lib/systemd/system/holdfast-ssh.service',
      join(root, 'etc/systemd/system/multi-user.target.wants/holdfast-ssh.service'),
    );
    const on = (await checkHardening(root)).items;

    for (const id of ['ssh-closed', 'ssh-unwanted', 'ssh-masked', 'ssh-socket-masked'])
      expect(stateOf(off, id)).toBe('pass');
    expect(stateOf(on, 'ssh-unwanted')).toBe('fail');
  });

  it('of a running machine excuses what the owner opened, with a warning, and only while it is open', async () => {
    const look = (id: string, active: string) => {
      const view = viewSystem(root);
      const check = hardeningChecks.find((one) => one.id === id);
      return check?.look({ ...view, live: true, command: async () => active });
    };
    await put('etc/passwd', 'root:x:0:0::/:/bin/sh\nholdfast-support:x:975:975::/tmp:/bin/bash\n');
    await put('etc/shadow', 'root:*::::::\nholdfast-support:$6$x$y::::::\n');
    await put('proc/net/tcp', '  0: 00000000:0016 00000000:0000 0A\n');

    expect(await look('ssh-closed', 'inactive\n')).toMatchObject({ state: 'pass' });
    expect(await look('ssh-closed', 'active\n')).toMatchObject({ state: 'fail' });
    expect(Object.keys(await readHardeningExceptions())).toContain('ssh-closed');
    for (const id of ['service-accounts-closed', 'passwords-none', 'listeners']) {
      expect(await look(id, 'inactive\n')).toMatchObject({ state: 'fail' });
      expect(await look(id, 'active\n')).toMatchObject({ state: 'pass' });
    }
  });
});

describe('the exceptions', () => {
  it('each say why, in a sentence', async () => {
    const text = await readFile(join(project, 'systemd', 'hardening-exceptions.json'), 'utf8');

    for (const why of Object.values(JSON.parse(text) as Record<string, string>))
      expect(why.length).toBeGreaterThan(40);
  });
});

function stateOf(items: readonly { id: string; state: string }[], id: string): string | undefined {
  return items.find((item) => item.id === id)?.state;
}

async function put(path: string, content: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), content);
}
