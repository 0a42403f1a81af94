/** The disks of this machine, as the kernel lists them. */
import { HoldfastError } from '../../lib/errors.ts';
import { runProcess } from '../../lib/spawn.ts';
import type { HostDisk } from './schema.ts';

/** Name under which the open data volume is mapped. */
export const MAPPED_NAME = 'holdfast-data';

/** Partitions of the image; whatever disk has one is the system's. */
const SYSTEM_PARTITIONS = new Set(['root-a', 'root-b', 'state', 'boot']);

interface BlockDevice {
  name: string;
  type: string;
  size: number;
  ro: boolean;
  model: string | null;
  serial: string | null;
  partlabel: string | null;
  mountpoints: (string | null)[];
  children?: BlockDevice[];
}

/** Whole disks that can be written, the system's own included; no optical drives, no memory disks. */
export async function listDisks(): Promise<HostDisk[]> {
  const columns = 'NAME,TYPE,SIZE,RO,MODEL,SERIAL,PARTLABEL,MOUNTPOINTS';
  const result = await runProcess('lsblk', ['--json', '--bytes', '--paths', '--output', columns], {
    timeoutMs: 20_000,
    maxOutputBytes: 4 * 1024 * 1024,
  });
  if (result.exitCode !== 0) {
    throw new HoldfastError('unavailable', 'The disks of this machine cannot be listed', {
      detail: result.stderr.slice(0, 500),
    });
  }
  const { blockdevices } = JSON.parse(result.stdout) as { blockdevices: BlockDevice[] };
  return blockdevices
    .filter((device) => device.type === 'disk' && !device.ro && device.size > 0)
    .filter((device) => !/^\/dev\/(zram|ram|fd|nbd)/.test(device.name))
    .map((device) => ({
      path: device.name,
      model: device.model?.trim() ?? null,
      serial: device.serial?.trim() ?? null,
      sizeBytes: device.size,
      usedFor: purposeOf(device),
    }));
}

function purposeOf(device: BlockDevice): HostDisk['usedFor'] {
  const parts = withDescendants(device);
  const mounted = (path: string) => parts.some((part) => part.mountpoints.includes(path));
  if (parts.some((part) => part.name.endsWith(`/${MAPPED_NAME}`))) return 'data';
  if (parts.some((part) => SYSTEM_PARTITIONS.has(part.partlabel ?? '')) || mounted('/') || mounted('/state'))
    return 'system';
  return 'other';
}

function withDescendants(device: BlockDevice): BlockDevice[] {
  return [device, ...(device.children ?? []).flatMap(withDescendants)];
}
