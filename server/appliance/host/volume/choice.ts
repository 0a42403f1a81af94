/**
 * Which disk holds the data, and what may be done with it. Pure. The one rule above all: only a disk on which nothing was found,
 * or that this machine itself began to format, is ever formatted; and never while this machine has a volume of its own.
 */
import type { HostDisk } from '../schema.ts';
import type { DiskContent } from './probe.ts';

export interface ProbedDisk extends HostDisk {
  content: DiskContent;
}

export type VolumeChoice =
  | { kind: 'own'; disk: ProbedDisk; uuid: string }
  /** Nobody's yet: may be formatted. */
  | { kind: 'blank'; disk: ProbedDisk }
  /** A claimed volume that this machine does not know. */
  | { kind: 'take-over'; disk: ProbedDisk; uuid: string; ownIsMissing: boolean }
  | { kind: 'own-missing' }
  | { kind: 'foreign'; disk: ProbedDisk; what: string }
  | { kind: 'failed'; disk: ProbedDisk; why: string }
  | { kind: 'too-small'; disk: ProbedDisk; minimumBytes: number }
  | { kind: 'several'; disks: ProbedDisk[] }
  | { kind: 'none' };

export interface ChoiceFacts {
  disks: readonly ProbedDisk[];
  /** Of the volume that this machine's list of ways is for; undefined before the claim. */
  ownUuid: string | undefined;
  /** The disk that the configuration names, if it does. */
  configuredPath: string | undefined;
  /** The disk that this machine began to format and that nobody claimed since. */
  isBegun(disk: HostDisk): boolean;
  minimumBytes: number;
}

export function chooseVolume(facts: ChoiceFacts): VolumeChoice {
  const disks = facts.disks.filter(
    (disk) =>
      disk.usedFor !== 'system' && (facts.configuredPath === undefined || disk.path === facts.configuredPath),
  );
  const claimed = disks.filter((disk) => isClaimed(disk, facts));
  if (facts.ownUuid !== undefined) return chooseOwn(disks, claimed, facts.ownUuid);
  const [stranger] = claimed;
  if (stranger !== undefined) return takeOver(stranger, false);
  return chooseFormattable(disks, facts);
}

/** A machine that has a volume looks for that one only; blank disks beside it are left alone. */
function chooseOwn(disks: readonly ProbedDisk[], claimed: readonly ProbedDisk[], uuid: string): VolumeChoice {
  // An interrupted claim may have left the label behind; the list of ways is what counts.
  const own = disks.find((disk) => disk.content.kind === 'holdfast' && disk.content.header.uuid === uuid);
  if (own !== undefined) return { kind: 'own', disk: own, uuid };
  const [stranger] = claimed;
  if (stranger !== undefined) return takeOver(stranger, true);
  const failed = firstFailed(disks);
  return failed ?? { kind: 'own-missing' };
}

function takeOver(disk: ProbedDisk, ownIsMissing: boolean): VolumeChoice {
  const uuid = disk.content.kind === 'holdfast' ? disk.content.header.uuid : '';
  return { kind: 'take-over', disk, uuid, ownIsMissing };
}

function chooseFormattable(disks: readonly ProbedDisk[], facts: ChoiceFacts): VolumeChoice {
  const begun = disks.filter((disk) => isUnclaimed(disk, facts) || (isTorn(disk) && facts.isBegun(disk)));
  const blank = begun.length > 0 ? begun : disks.filter((disk) => disk.content.kind === 'blank');
  const large = blank.filter((disk) => disk.sizeBytes >= facts.minimumBytes);
  const [first, ...more] = large;
  if (first !== undefined)
    return more.length === 0 ? { kind: 'blank', disk: first } : { kind: 'several', disks: large };
  const [small] = blank;
  if (small !== undefined) return { kind: 'too-small', disk: small, minimumBytes: facts.minimumBytes };
  return firstFailed(disks) ?? firstForeign(disks) ?? { kind: 'none' };
}

/** The label comes last in a claim: on a disk of elsewhere more than the one slot of a first boot says that somebody owns it. */
function isClaimed(disk: ProbedDisk, facts: ChoiceFacts): boolean {
  if (disk.content.kind !== 'holdfast') return false;
  return disk.content.claimed || (disk.content.header.keyslots.length > 1 && !facts.isBegun(disk));
}

function isUnclaimed(disk: ProbedDisk, facts: ChoiceFacts): boolean {
  return disk.content.kind === 'holdfast' && !isClaimed(disk, facts);
}

function isTorn(disk: ProbedDisk): boolean {
  return disk.content.kind === 'unknown';
}

function firstFailed(disks: readonly ProbedDisk[]): VolumeChoice | undefined {
  for (const disk of disks)
    if (disk.content.kind === 'failed') return { kind: 'failed', disk, why: disk.content.why };
  return undefined;
}

function firstForeign(disks: readonly ProbedDisk[]): VolumeChoice | undefined {
  for (const disk of disks) {
    if (disk.content.kind === 'foreign') return { kind: 'foreign', disk, what: disk.content.what };
    if (disk.content.kind === 'unknown')
      return { kind: 'foreign', disk, what: 'data that nothing recognises' };
  }
  return undefined;
}
