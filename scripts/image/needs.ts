/** What the build needs on this machine, and the Debian packages that hold it. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { BuildError, capture, run } from './command.ts';

/** Programs, each with its Debian package and the reason it is needed. */
const NEEDS: Record<string, { package: string; why: string }> = {
  packer: { package: 'packer', why: 'runs the build' },
  'qemu-system-x86_64': {
    package: 'qemu-system-x86',
    why: 'the machine that Packer provisions; 10 or newer',
  },
  'qemu-img': { package: 'qemu-utils', why: 'disk formats' },
  mmdebstrap: { package: 'mmdebstrap', why: 'Debian 13 from its packages' },
  sgdisk: { package: 'gdisk', why: 'partition table' },
  'mkfs.vfat': { package: 'dosfstools', why: 'the UEFI partition' },
  mcopy: { package: 'mtools', why: 'files on the UEFI partition, without mounting it' },
  mke2fs: { package: 'e2fsprogs', why: 'file systems of the slots' },
  veritysetup: { package: 'cryptsetup-bin', why: 'hash tree of the root' },
  rauc: { package: 'rauc', why: 'the update bundle' },
  mksquashfs: { package: 'squashfs-tools', why: 'same' },
  zstd: { package: 'zstd', why: 'packing' },
  openssl: { package: 'openssl', why: 'signatures' },
  'ssh-keygen': { package: 'openssh-client', why: 'the key of the build machine, thrown away afterwards' },
};

/** What measures the finished system. Without it an image is built all the same, and the build says what it did not measure. */
const HARDENING_NEEDS: typeof NEEDS = {
  oscap: { package: 'openscap-scanner', why: 'the OpenSCAP score of the build report' },
};

/** Programs, and files by their path, that the image's test needs besides. */
export const TEST_NEEDS: Record<string, { package: string; why: string }> = {
  swtpm: { package: 'swtpm', why: 'a TPM in software' },
  '/usr/share/ovmf/OVMF.fd': { package: 'ovmf', why: 'firmware that starts a machine by UEFI' },
  ssh: { package: 'openssh-client', why: 'visits the machine while SSH is open' },
  xorriso: { package: 'xorriso', why: 'the first-boot configuration as a disc' },
};

/** @throws BuildError naming what is missing and how to get it. */
export async function checkNeeds(install: boolean, needs = NEEDS): Promise<void> {
  let missing = await findMissing(needs);
  if (missing.length > 0 && install) {
    await installPackages(missing);
    missing = await findMissing(needs);
  }
  if (missing.length > 0) {
    const list = missing.map(
      (name) => `  ${name}: ${needs[name]?.why} (Debian package ${needs[name]?.package})`,
    );
    throw new BuildError(
      `Missing on this machine:\n${list.join('\n')}\nRun again with --install-needs to install them with apt, as root.`,
    );
  }
  if (process.getuid?.() !== 0) {
    throw new BuildError(
      'The build runs as root: it unpacks a system with its owners and mounts the result. Everything it makes stays in its output folder.',
    );
  }
}

/** In words what OpenSCAP lacks here and how to get it; undefined when nothing. */
export async function checkHardeningNeeds(install: boolean): Promise<string | undefined> {
  let missing = await findMissing(HARDENING_NEEDS);
  if (missing.length > 0 && install) {
    await installPackages(missing);
    missing = await findMissing(HARDENING_NEEDS);
  }
  if (missing.length === 0) return undefined;
  const list = missing.map((name) => `${name} (Debian package ${HARDENING_NEEDS[name]?.package})`);
  return `${list.join(', ')} is missing on this machine; --install-needs installs it`;
}

async function findMissing(needs: typeof NEEDS): Promise<string[]> {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  const missing = Object.keys(needs).filter(
    (name) =>
      !(name.startsWith('/') ? existsSync(name) : folders.some((folder) => existsSync(join(folder, name)))),
  );
  if ('qemu-system-x86_64' in needs && !missing.includes('qemu-system-x86_64') && (await qemuMajor()) < 10) {
    missing.push('qemu-system-x86_64');
  }
  return missing;
}

async function qemuMajor(): Promise<number> {
  return Number(/version (\d+)/.exec(await capture('qemu-system-x86_64', ['--version']))?.[1] ?? 0);
}

/** QEMU 10 is in Debian 13; Debian 12 has it in its backports, which get a file of their own. */
async function installPackages(missing: string[]): Promise<void> {
  const packages = [
    ...new Set(
      missing.map((name) => ({ ...NEEDS, ...HARDENING_NEEDS, ...TEST_NEEDS })[name]?.package ?? name),
    ),
  ];
  process.stdout.write(`Installing with apt: ${packages.join(' ')}\n`);
  const system = readFileSync('/etc/os-release', 'utf8');
  const backports = system.includes('VERSION_CODENAME=bookworm');
  if (backports) {
    writeFileSync(
      '/etc/apt/sources.list.d/bookworm-backports.sources',
      'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm-backports\nComponents: main\n' +
        'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n',
    );
  }
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', ['update', '-qq'], { env });
  const newer = packages.filter((name) => name.startsWith('qemu-'));
  const others = packages.filter((name) => !name.startsWith('qemu-'));
  const install = ['install', '-y', '-qq', '--no-install-recommends'];
  if (others.length > 0) await run('apt-get', [...install, ...others], { env });
  if (newer.length > 0)
    await run('apt-get', [...install, ...(backports ? ['-t', 'bookworm-backports'] : []), ...newer], { env });
}
