/** How a share is mounted: as a unit of systemd, whose text this file makes. @see systemd.mount(5), nfs(5), mount.cifs(8) */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError } from '../../../lib/errors.ts';
import { makePrivateDirectory, writeFileDurably } from '../../../lib/files.ts';
import { runProcess } from '../../../lib/spawn.ts';
import type { Share } from './schema.ts';

export interface MountRequest {
  share: Share;
  /** Where it is mounted. */
  point: string;
  /** Of an SMB share. */
  credentialsFile: string;
  /** Whom the files of an SMB share belong to: it has no owners of its own. */
  owner: { uid: number; gid: number };
}

export interface MountTool {
  /** @throws HoldfastError `unavailable` with what the system said. */
  mount(request: MountRequest): Promise<void>;
  unmount(request: Pick<MountRequest, 'point'>): Promise<void>;
}

const UNIT_FOLDER = '/run/systemd/system';
const MOUNT_SECONDS = 30;
const COMMAND_TIMEOUT_MS = 60_000;

export const systemdMounts: MountTool = {
  async mount(request) {
    const unit = unitName(request.point);
    await makePrivateDirectory(UNIT_FOLDER, 0o755);
    await writeFileDurably(join(UNIT_FOLDER, unit), mountUnit(request), { mode: 0o644 });
    // A reload stops systemd for seconds on a slow machine: only where it knows an older text of this unit.
    const { stdout } = await systemctl(['show', '--property=NeedDaemonReload', '--value', unit]);
    if (stdout.trim() !== 'no') await systemctl(['daemon-reload']);
    const started = await systemctl(['start', unit]);
    if (started.exitCode === 0) return;
    const said = await runProcess('journalctl', ['-u', unit, '-n', '5', '-o', 'cat', '--no-pager'], {
      timeoutMs: COMMAND_TIMEOUT_MS,
    });
    throw new HoldfastError('unavailable', 'The share cannot be mounted', {
      hint: 'Look at its address, its rights for this machine, and the network.',
      detail: `${started.stderr}\n${said.stdout}`.slice(-1_500),
    });
  },
  async unmount({ point }) {
    const unit = unitName(point);
    await systemctl(['stop', unit]);
    await rm(join(UNIT_FOLDER, unit), { force: true });
    await systemctl(['daemon-reload']);
  },
};

function systemctl(args: string[]) {
  return runProcess('systemctl', args, { timeoutMs: COMMAND_TIMEOUT_MS });
}

/** The text of the unit. Nothing in it can be chosen freely by whoever adds a share: the patterns of the schema see to it. */
export function mountUnit(request: MountRequest): string {
  const { type, what, options } = mountArguments(request);
  const remote = request.share.place.kind !== 'disk';
  return [
    '[Unit]',
    `Description=Storage for backups: share ${request.share.id}`,
    ...(remote ? ['Wants=network-online.target', 'After=network-online.target'] : []),
    '[Mount]',
    `What=${what}`,
    `Where=${request.point}`,
    `Type=${type}`,
    `Options=${options.join(',')}`,
    `TimeoutSec=${String(MOUNT_SECONDS)}`,
    '',
  ].join('\n');
}

/** Nothing on it is run or believed: no programs, no devices, no rights. */
const COMMON = ['nosuid', 'nodev', 'noexec', 'noatime'];

export function mountArguments(request: MountRequest): { type: string; what: string; options: string[] } {
  const { place } = request.share;
  if (place.kind === 'nfs') {
    // Soft: a server that is gone is an error that a snapshot reports, not a process that hangs for ever.
    const options = ['vers=4', 'proto=tcp', 'soft', 'timeo=300', 'retrans=3', ...COMMON];
    return { type: 'nfs', what: `${place.server}:${place.export}`, options };
  }
  if (place.kind === 'smb') {
    const { uid, gid } = request.owner;
    const owner = [`uid=${String(uid)}`, `gid=${String(gid)}`, 'file_mode=0660', 'dir_mode=02770'];
    const options = [
      `credentials=${request.credentialsFile}`,
      'vers=3.1.1',
      'seal',
      'soft',
      ...owner,
      ...COMMON,
    ];
    return { type: 'cifs', what: `//${place.server}/${place.share}`, options };
  }
  return { type: 'auto', what: `/dev/disk/by-uuid/${place.uuid}`, options: COMMON };
}

/** As `systemd-escape --path --suffix=mount`. */
export function unitName(point: string): string {
  const parts = point.split('/').filter((part) => part !== '');
  const escaped = parts.map((part) =>
    part.replace(/[^A-Za-z0-9:_.]/g, (sign) => `\\x${sign.charCodeAt(0).toString(16).padStart(2, '0')}`),
  );
  return `${escaped.join('-')}.mount`;
}

/** Whether something is mounted exactly there. @see proc_pid_mountinfo(5) */
export async function isMounted(point: string): Promise<boolean> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  return lines.some((line) => line.split(' ')[4]?.replaceAll('\\040', ' ') === point);
}
