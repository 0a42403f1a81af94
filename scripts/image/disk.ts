/**
 * Puts the system disk together as a file: partition table, both GRUBs, boot and state partitions, root slots. Only file
 * operations: no loop device, no mount, so a build that is broken off leaves nothing behind.
 */
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { BuildError, run } from './command.ts';
import { DISK_BYTES, PARTITIONS, partition, stableUuid } from './layout.ts';

const SECTOR = 512;

/** What both GRUBs have built in; nothing is loaded from the boot partition but the menu. */
const MODULES = [
  ...[
    'part_gpt',
    'ext2',
    'regexp',
    'configfile',
    'normal',
    'linux',
    'test',
    'echo',
    'gzio',
    'loadenv',
    'probe',
  ],
  ...['serial', 'terminal', 'minicmd', 'sleep', 'reboot', 'halt', 'all_video'],
];

export interface DiskOptions {
  /** Top of the project. */
  project: string;
  work: string;
  /** Unpacked system that has GRUB's parts. */
  system: string;
  version: string;
  epoch: number;
  /** File system of slot A, with its hash tree behind it when `verity` is given. */
  rootA: string;
  verity: VerityRoot | undefined;
  kernelArguments: string;
  menuSeconds: number;
  /** The raw disk to write. */
  output: string;
}

export interface VerityRoot {
  /** Hex. */
  rootHash: string;
  /** Where in the partition the hash tree starts. */
  hashOffset: number;
}

export async function assembleDisk(options: DiskOptions): Promise<void> {
  const parts = join(options.work, 'parts');
  rmSync(parts, { recursive: true, force: true });
  mkdirSync(parts, { recursive: true });
  rmSync(options.output, { force: true });
  const disk = openSync(options.output, 'w+');
  ftruncateSync(disk, DISK_BYTES);
  closeSync(disk);
  await writeTable(options);
  await makeGrub(options, parts);
  await makeEsp(options, parts);
  await makeBoot(options, parts);
  await makeState(options, parts);
  await copyInto(options.output, join(parts, 'esp.img'), 'esp');
  await copyInto(options.output, join(parts, 'boot.img'), 'boot');
  await copyInto(options.output, join(parts, 'state.img'), 'state');
  await copyInto(options.output, options.rootA, 'root-a');
  writeBiosGrub(options, parts);
}

async function writeTable(options: DiskOptions): Promise<void> {
  const args = PARTITIONS.flatMap((part) => {
    const first = part.startBytes / SECTOR;
    const last = (part.startBytes + part.sizeBytes) / SECTOR - 1;
    const id = stableUuid('partition', options.version, part.name);
    const number = String(part.number);
    return [
      '-n',
      `${number}:${first}:${last}`,
      '-t',
      `${number}:${part.type}`,
      '-c',
      `${number}:${part.name}`,
      '-u',
      `${number}:${id}`,
    ];
  });
  await run('sgdisk', ['-Z', options.output], { allow: [0, 2] });
  await run('sgdisk', ['-a', '1', '-U', stableUuid('disk', options.version), ...args, options.output]);
}

async function makeGrub(options: DiskOptions, parts: string): Promise<void> {
  // Without a disk in the prefix GRUB takes the one that the firmware started it from.
  const targets = [
    ['i386-pc', 'core.img', [...MODULES, 'biosdisk'].filter((name) => name !== 'all_video')],
    ['x86_64-efi', 'BOOTX64.EFI', MODULES],
  ] as const;
  for (const [platform, name, modules] of targets) {
    await run('chroot', [
      options.system,
      ...['grub-mkimage', '-O', platform, '-p', '(,gpt3)/grub', '-o', `/tmp/${name}`],
      ...modules,
    ]);
    await run('mv', [join(options.system, 'tmp', name), join(parts, name)]);
  }
  await run('cp', [join(options.system, 'usr/lib/grub/i386-pc/boot.img'), join(parts, 'mbr.img')]);
}

async function makeEsp(options: DiskOptions, parts: string): Promise<void> {
  const image = join(parts, 'esp.img');
  const env = { SOURCE_DATE_EPOCH: String(options.epoch), MTOOLS_SKIP_CHECK: '1' };
  const id = stableUuid('esp', options.version).slice(0, 8);
  await run(
    'mkfs.vfat',
    [
      '-F',
      '32',
      '-n',
      'ESP',
      '-i',
      id,
      '--invariant',
      '-C',
      image,
      String(partition('esp').sizeBytes / 1024),
    ],
    { env },
  );
  await run('mmd', ['-i', image, '::EFI', '::EFI/BOOT'], { env });
  await run('mcopy', ['-i', image, join(parts, 'BOOTX64.EFI'), '::EFI/BOOT/BOOTX64.EFI'], { env });
}

async function makeBoot(options: DiskOptions, parts: string): Promise<void> {
  const folder = join(parts, 'boot', 'grub');
  mkdirSync(folder, { recursive: true });
  const menu = readFileSync(join(options.project, 'packer', 'disk', 'grub.cfg'), 'utf8')
    .replaceAll('@ARGUMENTS@', options.kernelArguments)
    .replaceAll('@TIMEOUT@', String(options.menuSeconds));
  writeFileSync(join(folder, 'grub.cfg'), menu);
  writeFileSync(
    join(folder, 'grubenv'),
    environmentBlock({
      ORDER: 'A B',
      A_OK: '1',
      A_TRY: '0',
      A_GOOD: '1',
      B_OK: '0',
      B_TRY: '0',
      B_GOOD: '0',
      LAST: '',
    }),
  );
  if (options.verity !== undefined) {
    const { rootHash, hashOffset } = options.verity;
    writeFileSync(join(folder, 'slot-a.cfg'), `set hash_a=${rootHash}\nset offset_a=${hashOffset}\n`);
  }
  await makeExt4(join(parts, 'boot'), join(parts, 'boot.img'), 'boot', options);
}

/** Empty: what is in it is made by the running machine. */
async function makeState(options: DiskOptions, parts: string): Promise<void> {
  const state = join(parts, 'state');
  for (const folder of ['slots', 'unlock', 'hooks'])
    mkdirSync(join(state, folder), { recursive: true, mode: 0o700 });
  await makeExt4(state, join(parts, 'state.img'), 'state', options);
}

async function makeExt4(folder: string, image: string, name: string, options: DiskOptions): Promise<void> {
  const id = stableUuid(name, options.version);
  await run(
    'mke2fs',
    [
      ...[
        '-q',
        '-t',
        'ext4',
        '-O',
        '^metadata_csum_seed,^orphan_file',
        '-L',
        name,
        '-U',
        id,
        '-E',
        `hash_seed=${id},root_owner=0:0`,
      ],
      ...['-d', folder, image, `${partition(name).sizeBytes / 1024}k`],
    ],
    { env: { E2FSPROGS_FAKE_TIME: String(options.epoch) } },
  );
}

/** GRUB's environment: a fixed kilobyte, padded with #. */
export function environmentBlock(values: Record<string, string>): string {
  const text = `# GRUB Environment Block\n${Object.entries(values)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')}`;
  return text.padEnd(1024, '#');
}

/** Copies an image to the start of a partition; what is zero stays a hole. */
export async function copyInto(disk: string, image: string, name: string): Promise<void> {
  const part = partition(name);
  if (statSync(image).size > part.sizeBytes) {
    throw new BuildError(
      `${image} has ${statSync(image).size} bytes, and the partition ${name} only ${part.sizeBytes}`,
    );
  }
  await run('dd', [
    `if=${image}`,
    `of=${disk}`,
    'bs=1M',
    `seek=${part.startBytes / 1024 / 1024}`,
    'conv=notrunc,sparse',
  ]);
}

/**
 * What grub-bios-setup would do, on a file: the first stage into the boot sector, told where the second begins; the
 * second, told where its own rest lies, into the BIOS partition. Offsets: grub/i386/pc/boot.h of GRUB 2.12.
 */
function writeBiosGrub(options: DiskOptions, parts: string): void {
  const firstSector = BigInt(partition('bios').startBytes / SECTOR);
  const boot = readFileSync(join(parts, 'mbr.img'));
  const core = readFileSync(join(parts, 'core.img'));
  if (boot.length !== SECTOR || core.length > partition('bios').sizeBytes)
    throw new BuildError('GRUB has an unexpected size');
  boot.writeBigUInt64LE(firstSector, 0x5c);
  // Instead of a jump: some firmware passes a wrong drive number.
  boot.writeUInt16LE(0x9090, 0x66);
  core.writeBigUInt64LE(firstSector + 1n, 0x1f4);
  const disk = openSync(options.output, 'r+');
  // 440 bytes of code; the disk signature and the protective table behind them stay.
  writeSync(disk, boot, 0, 440, 0);
  writeSync(disk, core, 0, core.length, partition('bios').startBytes);
  closeSync(disk);
}
