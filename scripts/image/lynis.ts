/**
 * Lynis on a system tree at rest. It runs inside a copy-on-write view of the tree, in namespaces of its own and without /proc and
 * /sys, so that it can take nothing of the build machine for the image; only the kernel's name in its report is that machine's.
 */
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BuildError, run } from './command.ts';
import type { Accepted } from './hardening.ts';
import type { Yardsticks } from './yardsticks.ts';

interface LynisFinding {
  /** Lynis's number of the test, such as `BANN-7126`. */
  test: string;
  text: string;
  /** Why it may stay; undefined when nobody has said so. */
  accepted?: string | undefined;
}

export interface LynisScore {
  version: string;
  /** Lynis's own index, 0 to 100. */
  index: number;
  testsDone: number;
  warnings: LynisFinding[];
  suggestions: LynisFinding[];
  /** Tests that were left out, because only a running machine can tell. */
  leftOut: string[];
}

/** Every argument is absolute: staging folder, tree, the unpacked Lynis, its profile, folder for what it writes. */
const IN_NAMESPACE = `
set -eu
mount -t tmpfs -o mode=0755 stage "$1"
cd "$1"
mkdir tree upper work root
mount --bind "$2" tree
mount -t overlay -o lowerdir=tree,upperdir=upper,workdir=work root root
mkdir -p root/run/audit/lynis root/run/audit/out
mount --bind "$3" root/run/audit/lynis
mount --bind "$5" root/run/audit/out
cp "$4" root/run/audit/lynis.prf
mount -t tmpfs -o mode=0755 dev root/dev
mknod -m 666 root/dev/null c 1 3
mknod -m 666 root/dev/urandom c 1 9
hostname holdfast
timeout 900 chroot root env -i PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 sh -c '
  cd /run/audit/lynis/usr/share/lynis
  exec /run/audit/lynis/usr/sbin/lynis audit system --cronjob --plugindir /run/audit/lynis/etc/lynis/plugins \\
    --profile /run/audit/lynis.prf --report-file /run/audit/out/report.dat --logfile /run/audit/out/lynis.log
'
`;

/** Audits the tree, which is not changed, and leaves Lynis's own report and log in `out`. */
export async function runLynis(
  tree: string,
  { folder }: Yardsticks,
  accepted: Accepted['lynis'],
  { work, out }: { work: string; out: string },
): Promise<LynisScore> {
  const top = join(work, 'lynis');
  rmSync(top, { recursive: true, force: true });
  for (const name of ['stage', 'out']) mkdirSync(join(top, name), { recursive: true });
  const leftOut = Object.keys(accepted.needsRunning).toSorted();
  const profile = join(top, 'lynis.prf');
  copyFileSync(join(folder, 'etc', 'lynis', 'default.prf'), profile);
  writeFileSync(profile, `\n${leftOut.map((test) => `skip-test=${test}\n`).join('')}`, { flag: 'a' });
  await run('unshare', [
    ...['--mount', '--pid', '--fork', '--net', '--uts', '--ipc', '--propagation', 'private'],
    ...['sh', '-c', IN_NAMESPACE, 'sh', join(top, 'stage'), tree, folder, profile, join(top, 'out')],
  ]);
  const report = readFileSync(join(top, 'out', 'report.dat'), 'utf8');
  writeFileSync(join(out, 'hardening-lynis.dat'), report);
  cpSync(join(top, 'out', 'lynis.log'), join(out, 'hardening-lynis.log'));
  return { ...parseLynisReport(report, accepted.findings), leftOut };
}

/**
 * @param text - Lynis's report file: `key=value` lines, `key[]=value` for lists, `|` between the parts of a finding.
 * @param accepted - Reasons by test.
 * @throws BuildError when the audit did not come to its end.
 */
export function parseLynisReport(
  text: string,
  accepted: Record<string, string>,
): Omit<LynisScore, 'leftOut'> {
  const lines = text.split('\n');
  const value = (key: string) => {
    const line = lines.findLast((one) => one.startsWith(`${key}=`));
    if (line === undefined) throw new BuildError(`Lynis did not come to its end: its report lacks ${key}`);
    return line.slice(key.length + 1);
  };
  const findings = (key: string): LynisFinding[] =>
    lines
      .filter((line) => line.startsWith(`${key}[]=`))
      .map((line) => {
        const [test = '', said = ''] = line.slice(key.length + 3).split('|');
        return { test, text: said.trim(), accepted: accepted[test] };
      });
  value('finish');
  return {
    version: value('lynis_version'),
    index: Number(value('hardening_index')),
    testsDone: Number(value('lynis_tests_done')),
    warnings: findings('warning'),
    suggestions: findings('suggestion'),
  };
}
