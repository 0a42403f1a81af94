import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { requireTools, TOOLS_DIRECTORY } from '../helpers/tools.ts';

const project = join(import.meta.dirname, '..', '..');
const systemd = join(project, 'systemd');
const folder = join(systemd, 'units');
const units = readdirSync(folder).sort();
const services = units.filter((name) => name.endsWith('.service'));
/** Those that run for as long as the machine does, and serve others: at most this exposure. */
const LONG_RUNNING = ['keyd', 'postgres', 'server', 'worker'].map((name) => `holdfast-${name}.service`);
const MOST_EXPOSURE = 1.5;

/** Entries of other parts of the image, which come with them. */
const OTHERS = ['server/boot-good.ts', 'server/finish-setup.ts', 'systemd/system/console.sh'];

beforeAll(() => requireTools('systemd-analyze'));

describe('the units', () => {
  it.each(units)('%s say in a comment what they are for', (name) => {
    expect(readFileSync(join(folder, name), 'utf8')).toMatch(/^# [A-Z][^\n]{20,}\n/);
  });

  it.each(services)('%s starts only programs that the image has', (name) => {
    const text = readFileSync(join(folder, name), 'utf8');
    const ours = [...text.matchAll(/\/opt\/holdfast\/((?:server|systemd)\/[\w./-]+)/g)].map(
      ([, path = '']) => path,
    );

    expect(ours.filter((path) => !existsSync(join(project, path)) && !OTHERS.includes(path))).toEqual([]);
  });

  it.each(services)('%s may not make a process that starts with core dumps on', (name) => {
    const text = readFileSync(join(folder, name), 'utf8');

    expect(/^LimitCORE=0$/m.test(text) || !text.includes('node ')).toBe(true);
  });

  it('are all enabled by the script that installs them, but those that hostd starts', () => {
    const text = readFileSync(join(systemd, 'install.sh'), 'utf8');
    const onDemand = ['holdfast-shell@.service', 'holdfast-recovery-page.service', 'holdfast-ssh.service'];
    const named = units
      .filter((name) => !onDemand.includes(name))
      .map((name) => name.replace('@.', '@tty1.'));

    expect(named.filter((name) => !text.includes(name))).toEqual([]);
  });

  it('no start of the machine starts SSH: nothing enables it, wants it or requires it', () => {
    const name = 'holdfast-ssh.service';

    expect(readFileSync(join(systemd, 'install.sh'), 'utf8')).not.toContain(name);
    expect(readFileSync(join(systemd, 'system', 'holdfast.preset'), 'utf8')).toMatch(
      /^disable holdfast-ssh\.service\n[^]*enable holdfast\*\.service$/m,
    );
    expect(readFileSync(join(folder, name), 'utf8')).not.toContain('[Install]');
    expect(units.filter((unit) => wantsOf(unit).includes(name))).toEqual([]);
  });

  it.each(LONG_RUNNING)('%s is confined to an exposure of at most 1.5', (name) => {
    const { status, stdout, stderr } = spawnSync(
      'systemd-analyze',
      ['security', '--offline=true', '--no-pager', `--threshold=${MOST_EXPOSURE * 10}`, join(folder, name)],
      { encoding: 'utf8' },
    );

    expect({ status, said: status === 0 ? '' : stdout + stderr }).toEqual({ status: 0, said: '' });
  });

  it('are as exposed as the table in the README says', () => {
    const readme = readFileSync(join(systemd, 'README.md'), 'utf8');
    const told = Object.fromEntries(
      [...readme.matchAll(/^\| `(holdfast-[\w@-]+\.service)` \| ([\d.]+) \|/gm)].map(
        ([, name = '', score]) => [name, score],
      ),
    );

    // Versions of systemd weigh a little differently.
    const wrong = services.filter((name) => Math.abs(exposureOf(name) - Number(told[name])) > 0.3);
    expect(Object.keys(told).sort()).toEqual(services);
    expect(wrong).toEqual([]);
  });

  it('hold together: nothing names a unit or an option that there is not', () => {
    const { stderr } = spawnSync(
      'systemd-analyze',
      [
        'verify',
        '--man=no',
        '--generators=no',
        ...units.map((name) => join(folder, name.replace('@.', '@tty1.'))),
      ],
      {
        encoding: 'utf8',
        env: { ...process.env, SYSTEMD_UNIT_PATH: `${folder}:` },
      },
    );

    // Programs of the image are not on this machine; an older systemd does not know every option of the image's.
    const faults = stderr
      .split('\n')
      .filter((line) => line.includes('holdfast'))
      .filter(
        (line) =>
          !/is not executable|No such file or directory|Unknown key (name )?'Restart(Steps|MaxDelaySec|Mode)'/.test(
            line,
          ),
      );
    expect(faults).toEqual([]);
  });
});

describe('the AppArmor profiles', () => {
  const profiles = readdirSync(join(systemd, 'apparmor'));
  beforeAll(() => requireTools('apparmor_parser'));

  it.each(profiles)('%s is one that a unit names, and it is enforced', (name) => {
    const text = readFileSync(join(systemd, 'apparmor', name), 'utf8');
    const unit = readFileSync(join(folder, `${name}.service`), 'utf8');

    expect(unit).toContain(`\nAppArmorProfile=${name}\n`);
    expect(text).not.toMatch(/complain|unconfined\)/);
  });

  it.each(profiles)('%s can be translated', (name) => {
    // What every profile includes comes with the parser.
    const own = join(TOOLS_DIRECTORY, 'etc', 'apparmor.d');
    const base = existsSync(own) ? ['-b', own] : [];
    const parsed = spawnSync('apparmor_parser', ['-QTK', ...base, join(systemd, 'apparmor', name)], {
      encoding: 'utf8',
    });

    expect({ status: parsed.status, said: parsed.status === 0 ? '' : parsed.stderr }).toEqual({
      status: 0,
      said: '',
    });
  });
});

/** The lines by which a unit pulls in others. */
function wantsOf(name: string): string {
  const text = readFileSync(join(folder, name), 'utf8');
  return (text.match(/^(?:Wants|Requires|BindsTo|Upholds|OnSuccess|OnFailure)=.*$/gm) ?? []).join('\n');
}

function exposureOf(name: string): number {
  const { stdout } = spawnSync(
    'systemd-analyze',
    ['security', '--offline=true', '--no-pager', join(folder, name)],
    {
      encoding: 'utf8',
    },
  );
  return Number(/exposure level for [^:]+: ([\d.]+)/.exec(stdout)?.[1] ?? NaN);
}
