/** Debian 13 from its packages, natively: what would take minutes inside an emulated machine takes one outside. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './command.ts';

/** An older base may lack fixes that came since. */
const KEPT_MS = 24 * 3_600_000;

/** Where Debian's packages come from unless --mirror says otherwise. */
export const MIRROR = 'http://deb.debian.org';

/** Left out of packages: manuals, translations, and PostgreSQL's JIT compiler with its 180 MiB of LLVM, which is switched off. */
const LEFT_OUT = [
  '/usr/share/man/*',
  '/usr/share/info/*',
  '/usr/share/locale/*',
  '/usr/share/doc/*',
  '/usr/share/i18n/*',
  '/usr/lib/x86_64-linux-gnu/libLLVM*',
  '/usr/lib/x86_64-linux-gnu/libz3.so*',
  '/usr/lib/postgresql/17/lib/bitcode/*',
  '/usr/lib/postgresql/17/lib/llvmjit*',
];

export interface BaseOptions {
  /** Top of the project. */
  project: string;
  /** Where the base is kept between builds. */
  work: string;
  /** Seconds since 1970: no file of the image is younger. */
  epoch: number;
  /** Where Debian's packages come from; a snapshot of a day makes a build repeatable. */
  mirror: string | undefined;
}

/** Makes `base.tar`, or finds the one of an earlier build with the same ingredients. Returns its path. */
export async function makeBase(options: BaseOptions): Promise<string> {
  const packer = join(options.project, 'packer');
  const packages = [
    ...readPackages(join(packer, 'packages.txt')),
    ...readPackages(join(packer, 'packages-build.txt')),
  ];
  const hash = createHash('sha256')
    .update(JSON.stringify([packages, LEFT_OUT, options.mirror ?? MIRROR]))
    .update(hashTree(join(packer, 'root', 'etc', 'initramfs-tools')))
    .digest('hex')
    .slice(0, 12);
  const tar = join(options.work, `base-${hash}.tar`);
  if (existsSync(tar) && Date.now() - statSync(tar).mtimeMs < KEPT_MS) return tar;
  mkdirSync(options.work, { recursive: true });
  for (const old of readdirSync(options.work).filter((name) => /^base-.*\.tar$/.test(name)))
    rmSync(join(options.work, old));
  await bootstrap(packer, packages, `${tar}.new`, options);
  await run('mv', [`${tar}.new`, tar]);
  return tar;
}

async function bootstrap(
  packer: string,
  packages: string[],
  tar: string,
  options: BaseOptions,
): Promise<void> {
  const mirror = options.mirror ?? MIRROR;
  const sources = join(options.work, 'sources.list');
  writeFileSync(
    sources,
    [
      `deb ${mirror}/debian trixie main`,
      `deb ${mirror}/debian trixie-updates main`,
      `deb ${mirror}/debian-security trixie-security main`,
      '',
    ].join('\n'),
  );
  const initramfs = join(packer, 'root');
  await run(
    'mmdebstrap',
    [
      '--mode=root',
      '--variant=minbase',
      '--format=tar',
      `--include=${packages.join(',')}`,
      ...LEFT_OUT.map((path) => `--dpkgopt=path-exclude=${path}`),
      '--dpkgopt=path-include=/usr/share/doc/*/copyright',
      '--dpkgopt=force-unsafe-io',
      // The database belongs on the encrypted volume: no cluster while PostgreSQL is installed.
      '--setup-hook=mkdir -p "$1/etc/postgresql-common" && echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"',
      // Before the kernel comes, so that the one initrd that is made has our parts in it.
      `--essential-hook=tar -C '${initramfs}' --owner=0 --group=0 -c etc/initramfs-tools | tar -C "$1" -x`,
      '--customize-hook=chroot "$1" sh -c "lsinitramfs /initrd.img" | grep -q holdfast-overlay',
      '--customize-hook=chroot "$1" sh -c "lsinitramfs /initrd.img" | grep -q sbin/veritysetup',
      'trixie',
      tar,
      sources,
    ],
    { env: { SOURCE_DATE_EPOCH: String(options.epoch), TMPDIR: options.work } },
  );
}

/** Names in a list of `name  reason` lines. */
export function readPackages(file: string): string[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim().split(/\s+/)[0] ?? '')
    .filter((name) => name !== '');
}

function hashTree(folder: string): Buffer {
  const hash = createHash('sha256');
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  for (const path of files.map((entry) => join(entry.parentPath, entry.name)).sort()) {
    hash.update(path.slice(folder.length)).update(readFileSync(path));
  }
  return hash.digest();
}
