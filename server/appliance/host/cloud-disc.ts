/**
 * A machine that is set up, and whose only source of configuration is one disc that cannot be written to (or none at all), needs
 * nothing more from cloud-init while that disc stays the same: its next start leaves cloud-init out, which on a slow machine is a
 * tenth of it. This file keeps what such a start needs: which disc it was, and the network that came from it. The start itself compares and decides, in the
 * initrd (`packer/root/etc/initramfs-tools/scripts/init-bottom/holdfast-overlay`). A cloud's metadata may change: never left out.
 */
import { readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { isSystemError } from '../../lib/errors.ts';
import { makePrivateDirectory, readFileIfPresent, syncDirectory, writeFileDurably } from '../../lib/files.ts';
import type { HostPlaces } from './host-places.ts';

/** What is compared when there is no disc. */
const NONE = 'none';
const InstanceData = Type.Object({
  v1: Type.Object({ cloud_id: Type.String(), subplatform: Type.Optional(Type.String()) }),
});
/** As cloud-init's NoCloud source names where it found its files. */
const ON_DISC = /^config-disk \((\/dev\/[A-Za-z0-9/_-]{1,64})\)$/;
/** The only one that nobody changes in place; its UUID is the time at which it was made. */
const READ_ONLY_TYPE = 'iso9660';
const IDENTITY = /^[0-9-]{10,32}$/;
/** How cloud-init's renderer for systemd-networkd names its files. */
const RENDERED = /^10-cloud-init-[A-Za-z0-9_.-]{1,64}\.network$/;

type DiscPlaces = Pick<HostPlaces, 'state' | 'cloudRun' | 'networkFiles'>;

/**
 * Notes the disc, or that none is needed, after cloud-init has spoken in this start. Only for a machine that has its volume: any
 * other may still be told what to become.
 *
 * @param identify - tells disc from disc.
 * @returns what was noted; undefined: the next start asks cloud-init again.
 */
export async function noteCloudDisc(
  places: DiscPlaces,
  identify: (device: string) => Promise<string | undefined> = (device) => discIdentity(device),
): Promise<string | undefined> {
  const folder = join(places.state, 'cloud');
  const disc = await currentDisc(places, identify);
  if (disc === undefined) {
    await rm(folder, { recursive: true, force: true });
    return undefined;
  }
  // The identity comes last, and is gone while the files change: a start that finds it finds all of them.
  await rm(join(folder, 'disc'), { force: true });
  await makePrivateDirectory(folder, 0o755);
  await syncDirectory(folder);
  const rendered = await renderedFiles(places.networkFiles);
  for (const name of await readdir(folder)) if (!rendered.includes(name)) await rm(join(folder, name));
  for (const name of rendered) {
    const content = await readFileIfPresent(join(places.networkFiles, name));
    if (content === undefined) return undefined;
    await writeFileDurably(join(folder, name), content, { step: 'host.cloud-network', mode: 0o644 });
  }
  await writeFileDurably(join(folder, 'disc'), `${disc}\n`, { step: 'host.cloud-disc', mode: 0o644 });
  return disc;
}

async function currentDisc(
  { cloudRun }: DiscPlaces,
  identify: (device: string) => Promise<string | undefined>,
): Promise<string | undefined> {
  const content = await readFileIfPresent(join(cloudRun, 'instance-data.json'));
  if (content === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(content.toString('utf8'));
  } catch {
    // Cloud-init was cut off while it wrote.
    return undefined;
  }
  if (!Value.Check(InstanceData, value)) return undefined;
  const { cloud_id: cloud, subplatform = '' } = value.v1;
  if (cloud === 'none') return NONE;
  const device = cloud === 'nocloud' ? ON_DISC.exec(subplatform)?.[1] : undefined;
  return device === undefined ? undefined : identify(device);
}

/**
 * Of a file system that nobody can change in place; undefined for any other. From what udev found: the services that ask have no devices.
 *
 * @see udev(7), the database below `/run/udev/data`
 */
export async function discIdentity(device: string, root = '/'): Promise<string | undefined> {
  const number = await readFileIfPresent(join(root, 'sys/class/block', basename(device), 'dev'));
  if (number === undefined) return undefined;
  const known = await readFileIfPresent(join(root, 'run/udev/data', `b${number.toString('utf8').trim()}`));
  const lines = known?.toString('utf8').split('\n') ?? [];
  const uuid =
    /^E:ID_FS_UUID=(.*)$/.exec(lines.find((line) => line.startsWith('E:ID_FS_UUID=')) ?? '')?.[1] ?? '';
  return lines.includes(`E:ID_FS_TYPE=${READ_ONLY_TYPE}`) && IDENTITY.test(uuid) ? uuid : undefined;
}

async function renderedFiles(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => RENDERED.test(name));
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
}
