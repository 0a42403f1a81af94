/**
 * Shares and second disks as places for backups.
 *
 * Guarantees: a backup goes into a folder that lies in the share itself, so that without the share there is no such folder; the
 * mount point below is closed to everybody. A share in which the marker of the day it was added is missing is another one: it
 * is not offered, and nothing is made in it. Passwords lie in a file that only root reads, on the encrypted volume, and are in
 * no argument, log or backup.
 */
import { randomUUID } from 'node:crypto';
import { chmod, chown, lstat, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Type } from 'typebox';
import { crashPoint } from '../../../lib/crash-point.ts';
import { HoldfastError, isSystemError, messageOf } from '../../../lib/errors.ts';
import { makePrivateDirectory, writeFileDurably } from '../../../lib/files.ts';
import type { HostDeps } from '../host-app.ts';
import { isMounted, type MountRequest, type MountTool } from './mount.ts';
import { Share, type AddShareRequest, type ShareStatus } from './schema.ts';
import type { HostActor } from '../schema.ts';
import { readStateFile, withStateLock, writeStateFile } from '../state-file.ts';

export interface SharesDeps extends HostDeps {
  mounts: MountTool;
  /** Account and group that write backups. */
  owner: { uid: number; gid: number };
}

export interface Shares {
  list(): Promise<ShareStatus[]>;
  add(request: AddShareRequest): Promise<ShareStatus>;
  remove(id: string, actor: HostActor): Promise<void>;
  /** Mounts what is not mounted. @returns what is still away. */
  mountAll(): Promise<ShareStatus[]>;
}

const ShareFile = Type.Object({ format: Type.Literal(1), shares: Type.Array(Share, { maxItems: 20 }) });
const Marker = Type.Object({ format: Type.Literal(1), holdfastShare: Type.String({ maxLength: 64 }) });
const MARKER = '.holdfast-share.json';
/** Of the share; a directory target needs a folder that is empty at first. */
const FOLDER = 'holdfast';
const MOST_SHARES = 20;

export function openShares(deps: SharesDeps): Shares {
  const folder = join(deps.places.data, 'system', 'private');
  const file = join(folder, 'shares.json');
  const read = async () => (await readStateFile(file, ShareFile))?.shares ?? [];
  const write = (shares: Share[]) => writeStateFile(file, { format: 1, shares }, { step: 'host.shares' });
  const locked = <T>(act: () => Promise<T>) => withStateLock(join(folder, 'shares.lock'), act);
  const place: Place = { deps, folder };
  return {
    list: async () => Promise.all((await read()).map((share) => statusOf(place, share))),
    add: (request) =>
      locked(async () => {
        const shares = await read();
        refuseShare(shares, request);
        await makePrivateDirectory(folder);
        const share = await makeShare(place, request);
        await write([...shares, share]);
        await tell(deps, request.actor, 'added', share);
        return statusOf(place, share);
      }),
    remove: (id, actor) =>
      locked(async () => {
        const shares = await read();
        const share = shares.find((one) => one.id === id);
        if (share === undefined) throw new HoldfastError('not_found', 'There is no such share');
        await write(shares.filter((one) => one.id !== id));
        crashPoint('host.shares.dropped');
        await deps.mounts.unmount(requestOf(place, share));
        await rm(credentialsFile(place, id), { force: true });
        await tell(deps, actor, 'removed', share);
      }),
    mountAll: () =>
      locked(async () => {
        const found: ShareStatus[] = [];
        for (const share of await read()) found.push(await mountAgain(place, share));
        return found.filter((share) => share.state === 'away');
      }),
  };
}

interface Place {
  deps: SharesDeps;
  folder: string;
}

function pointOf({ deps }: Place, id: string): string {
  return join(deps.places.run, 'shares', id);
}

function credentialsFile({ folder }: Place, id: string): string {
  return join(folder, `${id}.credentials`);
}

function requestOf(place: Place, share: Share): MountRequest {
  const { owner } = place.deps;
  return { share, point: pointOf(place, share.id), credentialsFile: credentialsFile(place, share.id), owner };
}

function refuseShare(shares: readonly Share[], request: AddShareRequest): void {
  if (shares.length >= MOST_SHARES) {
    throw new HoldfastError('wrong_state', `There are ${String(MOST_SHARES)} shares already`);
  }
  if (shares.some((share) => JSON.stringify(share.place) === JSON.stringify(request.place))) {
    throw new HoldfastError('conflict', 'This share was added already');
  }
  if ((request.place.kind === 'smb') !== (request.password !== undefined)) {
    throw new HoldfastError('invalid_input', 'A password belongs to an SMB share, and to no other');
  }
}

/** Mounts it, finds or makes the marker and the folder. What fails leaves nothing mounted and nothing kept. */
async function makeShare(place: Place, request: AddShareRequest): Promise<Share> {
  const { deps } = place;
  const id = randomUUID();
  const share: Share = {
    id,
    label: request.label,
    place: request.place,
    marker: id,
    addedAt: deps.clock.now().toISOString(),
  };
  const mount = requestOf(place, share);
  try {
    if (request.place.kind === 'smb') {
      const { username, domain } = request.place;
      const lines = [`username=${username}`, `password=${request.password ?? ''}`];
      if (domain !== undefined) lines.push(`domain=${domain}`);
      await writeFileDurably(mount.credentialsFile, `${lines.join('\n')}\n`, { mode: 0o600 });
    }
    await makePoint(mount.point);
    await deps.mounts.mount(mount);
    if (!(await isMounted(mount.point))) throw new HoldfastError('unavailable', 'The share was not mounted');
    return { ...share, marker: await settleMarker(mount, share, deps.owner) };
  } catch (error) {
    await deps.mounts.unmount(mount).catch(() => undefined);
    await rm(mount.credentialsFile, { force: true });
    throw explain(error);
  }
}

/** Nobody can write into it while nothing is mounted there. */
async function makePoint(point: string): Promise<void> {
  await mkdir(join(point, '..'), { recursive: true, mode: 0o711 });
  await mkdir(point, { recursive: true, mode: 0o000 });
  if (!(await isMounted(point))) await chmod(point, 0o000);
}

/** A share that an earlier Holdfast used keeps its marker: what lies in it is a repository to take over or recover from. */
async function settleMarker(mount: MountRequest, share: Share, owner: SharesDeps['owner']): Promise<string> {
  const path = join(mount.point, MARKER);
  const present = await readMarker(path);
  const folder = join(mount.point, FOLDER);
  await mkdir(folder, { mode: 0o770 }).catch((error: unknown) => {
    if (!isSystemError(error, 'EEXIST')) throw error;
  });
  if (share.place.kind !== 'smb') {
    await chown(folder, owner.uid, owner.gid);
    await chmod(folder, 0o2770);
  }
  if (present !== undefined) return present;
  await writeFileDurably(path, `${JSON.stringify({ format: 1, holdfastShare: share.marker })}\n`, {
    mode: 0o644,
    exclusive: share.place.kind !== 'smb',
  });
  return share.marker;
}

async function readMarker(path: string): Promise<string | undefined> {
  return (await readStateFile(path, Marker))?.holdfastShare;
}

async function mountAgain(place: Place, share: Share): Promise<ShareStatus> {
  const mount = requestOf(place, share);
  try {
    await makePoint(mount.point);
    if (!(await isMounted(mount.point))) await place.deps.mounts.mount(mount);
  } catch (error) {
    return { ...(await statusOf(place, share)), state: 'away', message: messageOf(error) };
  }
  const status = await statusOf(place, share);
  // Another disk or export in its place: whoever writes there fills what is not ours.
  if (status.state === 'away') await place.deps.mounts.unmount(mount).catch(() => undefined);
  return status;
}

async function statusOf(place: Place, share: Share): Promise<ShareStatus> {
  const point = pointOf(place, share.id);
  const base = { ...share, path: join(point, FOLDER) };
  const away = (message: string) => ({ ...base, state: 'away' as const, message });
  if (!(await isMounted(point))) return away('It is not mounted: it cannot be reached, or was taken away.');
  const marker = await readMarker(join(point, MARKER)).catch(() => undefined);
  if (marker !== share.marker)
    return away('What lies there is not the share that was added: its mark is missing.');
  const folder = await lstat(base.path).catch(() => undefined);
  if (folder?.isDirectory() !== true) return away('The folder for backups in it is gone.');
  return { ...base, state: 'mounted', message: null };
}

async function tell(deps: SharesDeps, actor: HostActor, verb: string, share: Share): Promise<void> {
  await deps.journal.append(actor, {
    action: `host.share.${verb}`,
    objectType: 'share',
    objectId: share.id,
    detail: { place: share.place },
  });
}

function explain(error: unknown): unknown {
  if (!isSystemError(error, 'EACCES', 'EPERM', 'EROFS')) return error;
  return new HoldfastError('unavailable', 'Nothing can be written in this share', {
    hint: 'Give this machine the right to write there. An NFS export must let root through once (no_root_squash), or hold a folder `holdfast` that the backup account may write to.',
    cause: error,
  });
}
