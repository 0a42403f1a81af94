/** Opening, mounting and growing: what needs the kernel's device mapper. Everything else about the volume works on image files. */
import { mkdir, readFile } from 'node:fs/promises';
import { HoldfastError } from '../../../lib/errors.ts';
import { runProcess } from '../../../lib/spawn.ts';
import { MAPPED_NAME } from '../disks.ts';
import { openMapped } from './luks.ts';

export interface VolumeMapping {
  isMounted(): Promise<boolean>;
  /** @param keyslot the only one to try. @returns the key slot, or undefined for a wrong key. */
  open(device: string, secret: string, keyslot?: number): Promise<number | undefined>;
  makeFileSystem(): Promise<void>;
  /** Checks, mounts, and lets the file system take what the disk has grown by. */
  mount(): Promise<void>;
  /** Takes mount and mapping away again. Absent is fine. */
  close(): Promise<void>;
  /** Lets an open volume take what its disk has grown by meanwhile. */
  grow(secret: string): Promise<void>;
}

const MAPPED = `/dev/mapper/${MAPPED_NAME}`;
/** A file system check of a large volume after a power cut replays the journal; that is quick, a full check is not. */
const CHECK_TIMEOUT_MS = 3_600_000;
const TIMEOUT_MS = 600_000;
/** `e2fsck` ends with these when all is well, or is so now. */
const SOUND = [0, 1];

/** @param mountPoint of the data volume. */
export function deviceMapping(mountPoint: string): VolumeMapping {
  return {
    async isMounted() {
      const mounts = await readFile('/proc/self/mounts', 'utf8');
      return mounts.split('\n').some((line) => line.split(' ')[1] === mountPoint);
    },
    open: (device, secret, keyslot) => openMapped(device, MAPPED_NAME, secret, keyslot),
    makeFileSystem: () =>
      must('mkfs.ext4', ['-q', '-F', '-m', '1', '-L', 'holdfast-data', MAPPED], 'make a file system'),
    async mount() {
      const checked = await runProcess('e2fsck', ['-p', MAPPED], { timeoutMs: CHECK_TIMEOUT_MS });
      if (!SOUND.includes(checked.exitCode ?? -1)) {
        throw new HoldfastError('integrity_failure', 'The file system on the data disk is damaged', {
          hint: 'The disk may be failing. Repair it from the console (e2fsck), or recover from a backup.',
          detail: `${checked.stdout}\n${checked.stderr}`.slice(-1_000),
        });
      }
      await mkdir(mountPoint, { recursive: true, mode: 0o711 });
      await must('mount', ['-o', 'nodev,nosuid,noexec,noatime', MAPPED, mountPoint], 'mount the data volume');
      await must('resize2fs', [MAPPED], 'grow the file system');
    },
    async close() {
      await runProcess('umount', [mountPoint], { timeoutMs: TIMEOUT_MS });
      await runProcess('cryptsetup', ['close', MAPPED_NAME], { timeoutMs: TIMEOUT_MS });
    },
    async grow(secret) {
      await must('cryptsetup', ['resize', '--key-file', '-', MAPPED_NAME], 'grow the volume', secret);
      await must('resize2fs', [MAPPED], 'grow the file system');
    },
  };
}

async function must(command: string, args: string[], purpose: string, input?: string): Promise<void> {
  const done = await runProcess(command, args, {
    timeoutMs: TIMEOUT_MS,
    ...(input === undefined ? {} : { input }),
  });
  if (done.exitCode === 0) return;
  throw new HoldfastError('unavailable', `This machine could not ${purpose}`, {
    hint: 'Look at the data disk and at the log of holdfast-unlock.',
    detail: `${command}: exit ${done.exitCode ?? done.signal ?? ''}: ${done.stderr.slice(-500)}`,
  });
}
