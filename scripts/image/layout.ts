/** The system disk: where each partition lies, and names that the running system finds them by. */
import { createHash } from 'node:crypto';

const MIB = 1024 * 1024;

export interface Partition {
  number: number;
  name: string;
  /** Type code of sgdisk. */
  type: string;
  startBytes: number;
  sizeBytes: number;
}

export const DISK_BYTES = 8 * 1024 * MIB;

const SIZES: [name: string, type: string, mebibytes: number][] = [
  ['bios', 'ef02', 1],
  ['esp', 'ef00', 64],
  ['boot', '8300', 128],
  ['state', '8300', 256],
  ['root-a', '8300', 3072],
  ['root-b', '8300', 3072],
];

/** In the order of the disk; the first starts at 1 MiB. */
export const PARTITIONS: readonly Partition[] = SIZES.map(([name, type, mebibytes], index) => ({
  number: index + 1,
  name,
  type,
  startBytes: (1 + SIZES.slice(0, index).reduce((sum, [, , size]) => sum + size, 0)) * MIB,
  sizeBytes: mebibytes * MIB,
}));

export function partition(name: string): Partition {
  const found = PARTITIONS.find((part) => part.name === name);
  if (found === undefined) throw new Error(`no partition ${name}`);
  return found;
}

/** The same for the same words: two builds of one version give file systems and tables the same ids. */
export function stableUuid(...words: string[]): string {
  const hash = createHash('sha256').update(words.join('\n')).digest('hex');
  const variant = ((Number.parseInt(hash.slice(16, 18), 16) & 0x3f) | 0x80).toString(16);
  return `${hash.slice(0, 8)}-${hash.slice(8, 12)}-5${hash.slice(13, 16)}-${variant}${hash.slice(18, 20)}-${hash.slice(20, 32)}`;
}
