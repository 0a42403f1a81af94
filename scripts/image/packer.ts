/** The part that runs in the emulated machine: a base disk, Packer, and the root that comes out of it. */
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BuildError, capture, run } from './command.ts';
import { assembleDisk } from './disk.ts';
import { partition } from './layout.ts';

export interface MachineOptions {
  project: string;
  work: string;
  version: string;
  epoch: number;
  accelerator: string;
  /** A root shell on the second serial line. */
  debug: boolean;
}

/** Unpacks the base to `system` in the work folder. Its GRUB parts serve both disks. */
export async function unpackBase(tar: string, work: string): Promise<string> {
  const system = join(work, 'system');
  const mark = join(work, 'system.from');
  if (existsSync(mark) && readFileSync(mark, 'utf8') === tar) return system;
  rmSync(mark, { force: true });
  rmSync(system, { recursive: true, force: true });
  mkdirSync(system, { recursive: true });
  await run('tar', ['-C', system, '--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpf', tar]);
  writeFileSync(mark, tar);
  return system;
}

/** A disk that boots the base with a writable root and lets the build in by a key of its own. */
export async function makeBaseDisk(system: string, options: MachineOptions, disk: boolean): Promise<void> {
  const { work } = options;
  const key = join(work, 'build-key');
  rmSync(key, { force: true });
  rmSync(`${key}.pub`, { force: true });
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'image build', '-f', key]);
  mkdirSync(join(system, 'root', '.ssh'), { recursive: true, mode: 0o700 });
  cpSync(`${key}.pub`, join(system, 'root', '.ssh', 'authorized_keys'));
  chmodSync(join(system, 'root', '.ssh', 'authorized_keys'), 0o600);
  writeFileSync(join(system, 'etc', 'fstab'), '');
  writeFileSync(join(system, 'etc', 'hostname'), 'build\n');
  writeFileSync(
    join(system, 'etc', 'systemd', 'network', '10-build.network'),
    '[Match]\nType=ether\n[Network]\nDHCP=ipv4\n',
  );
  await run('chroot', [system, 'systemctl', 'enable', '--quiet', 'systemd-networkd.service', 'ssh.service']);
  if (!disk) return;
  const root = join(work, 'base-root.ext4');
  rmSync(root, { force: true });
  await run('mke2fs', [
    ...[
      '-q',
      '-t',
      'ext4',
      '-O',
      '^has_journal,^metadata_csum_seed,^orphan_file',
      '-m',
      '0',
      '-d',
      system,
      root,
    ],
    `${partition('root-a').sizeBytes / 1024}k`,
  ]);
  await assembleDisk({
    ...options,
    system,
    rootA: root,
    verity: undefined,
    kernelArguments:
      'rw holdfast.build cloud-init=disabled systemd.gpt_auto=0 console=tty0 console=ttyS0,115200 panic=10',
    menuSeconds: 0,
    output: join(work, 'base.raw'),
  });
  rmSync(root, { force: true });
  await run('qemu-img', [
    'convert',
    '-f',
    'raw',
    '-O',
    'qcow2',
    join(work, 'base.raw'),
    join(work, 'base.qcow2'),
  ]);
  rmSync(join(work, 'base.raw'));
}

/** Everything that the provisioning scripts take from the project, in one file: one connection, one copy. */
export async function packUpload(
  options: MachineOptions,
  application: string,
  keyring: string,
  image: object,
): Promise<void> {
  const upload = join(options.work, 'upload');
  rmSync(upload, { recursive: true, force: true });
  mkdirSync(upload);
  for (const name of ['packages.txt', 'packages-build.txt', 'root', 'provision']) {
    cpSync(join(options.project, 'packer', name), join(upload, name), { recursive: true });
  }
  if (options.debug) writeFileSync(join(upload, 'debug'), '');
  cpSync(keyring, join(upload, 'keyring.pem'));
  cpSync(application, join(upload, 'application.tar.zst'));
  writeFileSync(join(upload, 'image.json'), `${JSON.stringify(image, null, 2)}\n`);
  await run('tar', ['-C', upload, '--owner=0', '--group=0', '-cf', join(options.work, 'upload.tar'), '.']);
}

/** Runs Packer's QEMU source. Returns the raw disk whose slot A is the provisioned system. */
export async function provision(options: MachineOptions): Promise<string> {
  const { work } = options;
  rmSync(join(work, 'packer'), { recursive: true, force: true });
  await run(
    'packer',
    [
      'build',
      '-color=false',
      '-timestamp-ui',
      '-only=qemu.holdfast',
      ...[
        '-var',
        `version=${options.version}`,
        '-var',
        `work=${work}`,
        '-var',
        `base_disk=${join(work, 'base.qcow2')}`,
      ],
      ...['-var', `ssh_key=${join(work, 'build-key')}`, '-var', `accelerator=${options.accelerator}`],
      '.',
    ],
    {
      cwd: join(options.project, 'packer'),
      env: { PACKER_CACHE_DIR: join(work, 'packer-cache'), CHECKPOINT_DISABLE: '1', TMPDIR: work },
    },
  );
  rmSync(join(work, 'build-key'), { force: true });
  const raw = join(work, 'provisioned.raw');
  await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', join(work, 'packer', 'holdfast.qcow2'), raw]);
  rmSync(join(work, 'packer'), { recursive: true });
  rmSync(join(work, 'base.qcow2'));
  return raw;
}

const IN_CHROOT = `
set -eu
mount -t proc proc "$1/proc"
mount -t sysfs sysfs "$1/sys"
mount --bind /dev "$1/dev"
for script in 10-packages 20-accounts 30-application 40-system 50-boot 60-harden 90-clean; do
  chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin UPLOAD=/root/upload SYSTEMD_OFFLINE=1 SYSTEMCTL_SKIP_SYSV=1 \\
    bash "/root/upload/provision/$script.sh"
done
rm -rf "$1/root/upload"
`;

/** The same scripts in a chroot on this machine, without Packer: quicker, for trying things; not how an image is released. */
export async function provisionInChroot(system: string, options: MachineOptions): Promise<string> {
  const tree = join(options.work, 'chroot');
  rmSync(tree, { recursive: true, force: true });
  await run('cp', ['-a', system, tree]);
  await run('cp', ['-a', join(options.work, 'upload'), join(tree, 'root', 'upload')]);
  await run('cp', [
    '-a',
    join(options.project, 'packer', 'provision'),
    join(tree, 'root', 'upload', 'provision'),
  ]);
  // Mounts of a namespace of their own end with it.
  await run('unshare', ['--mount', '--uts', '--propagation', 'private', 'sh', '-c', IN_CHROOT, 'sh', tree]);
  return tree;
}

/** Does `act` with slot A of a raw disk mounted, read-only. */
export async function withRoot<Result>(
  disk: string,
  work: string,
  act: (root: string) => Promise<Result>,
): Promise<Result> {
  const mountPoint = join(work, 'root');
  const part = partition('root-a');
  mkdirSync(mountPoint, { recursive: true });
  await run('mount', [
    '-o',
    `loop,ro,offset=${part.startBytes},sizelimit=${part.sizeBytes}`,
    disk,
    mountPoint,
  ]);
  try {
    return await act(mountPoint);
  } finally {
    await run('umount', [mountPoint]);
  }
}

/** What must not be in an image, however it came there. @throws BuildError naming all of it. */
export async function refuseLeftovers(root: string): Promise<void> {
  const found = await capture('find', [
    root,
    '-xdev',
    '(',
    ...[
      '-name',
      'authorized_keys',
      '-o',
      '-name',
      'ssh_host_*',
      '-o',
      '-name',
      'gcc*',
      '-path',
      '*/bin/*',
      '-o',
      '-path',
      `${root}/usr/bin/apt*`,
    ],
    ...[
      '-o',
      '-path',
      `${root}/usr/bin/dpkg*`,
      '-o',
      '-path',
      '*/bin/cc',
      '-o',
      '-path',
      '*/bin/make',
      '-o',
      '-name',
      'postmaster.pid',
    ],
    ...['-o', '-type', 'f', '-perm', '/6000'],
    ')',
  ]);
  if (found.trim() !== '') throw new BuildError(`The image holds what it must not:\n${found}`);
  if (readFileSync(join(root, 'etc', 'machine-id'), 'utf8').trim() !== '')
    throw new BuildError('The image has a machine id of its own');
}
