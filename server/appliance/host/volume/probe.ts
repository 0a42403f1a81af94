/** What is on a disk, by looking at it. Reads only. A disk counts as blank only when nothing at all can be found on it. */
import { open } from 'node:fs/promises';
import { messageOf } from '../../../lib/errors.ts';
import { runProcess } from '../../../lib/spawn.ts';
import { CLAIMED_LABEL, readFacts, readHeader, UNCLAIMED_LABEL, type LuksHeader } from './luks.ts';

export type DiskContent =
  | { kind: 'blank' }
  /** A volume of Holdfast; which one, the header says. */
  | { kind: 'holdfast'; claimed: boolean; header: LuksHeader }
  /** Bytes that no program recognises: what an interrupted formatting leaves, or anything else. */
  | { kind: 'unknown' }
  /** @param what in words, such as `an ext4 file system "photos"`. */
  | { kind: 'foreign'; what: string }
  | { kind: 'failed'; why: string }
  /** What hands configuration to cloud-init: never meant for data. */
  | { kind: 'seed' };

/** Labels that cloud-init looks for (its NoCloud and ConfigDrive sources), any case. */
const SEED_LABELS = ['cidata', 'config-2'];

const EDGE_BYTES = 1024 * 1024;

/** @param device block device or image file. */
export async function probeDisk(device: string, sizeBytes: number): Promise<DiskContent> {
  let edgesEmpty: boolean;
  try {
    edgesEmpty = await areEdgesEmpty(device, sizeBytes);
  } catch (error) {
    return { kind: 'failed', why: messageOf(error) };
  }
  const facts = await readFacts(device);
  if (SEED_LABELS.includes(facts.get('LABEL')?.toLowerCase() ?? '')) return { kind: 'seed' };
  if (facts.get('TYPE') === 'crypto_LUKS') return probeLuks(device, facts);
  const signatures = await listSignatures(device);
  if (signatures === undefined) return { kind: 'failed', why: 'wipefs cannot read it' };
  if (facts.size > 1 || signatures.length > 0) return { kind: 'foreign', what: describe(facts, signatures) };
  return edgesEmpty ? { kind: 'blank' } : { kind: 'unknown' };
}

async function probeLuks(device: string, facts: Map<string, string>): Promise<DiskContent> {
  const label = facts.get('LABEL');
  if (label !== CLAIMED_LABEL && label !== UNCLAIMED_LABEL)
    return { kind: 'foreign', what: `a LUKS volume${label === undefined ? '' : ` "${label}"`}` };
  const header = await readHeader(device);
  // Both copies of the header carry checksums: one that cannot be read was torn, or the disk is failing.
  if (header === undefined) return { kind: 'unknown' };
  return { kind: 'holdfast', claimed: label === CLAIMED_LABEL, header };
}

async function areEdgesEmpty(device: string, sizeBytes: number): Promise<boolean> {
  const handle = await open(device, 'r');
  try {
    const buffer = Buffer.alloc(EDGE_BYTES);
    for (const position of [0, Math.max(0, sizeBytes - EDGE_BYTES)]) {
      const { bytesRead } = await handle.read(buffer, 0, EDGE_BYTES, position);
      if (buffer.subarray(0, bytesRead).some((byte) => byte !== 0)) return false;
    }
    return true;
  } finally {
    await handle.close();
  }
}

/** Types of what stands anywhere on the device, partition tables and RAID members included. */
async function listSignatures(device: string): Promise<string[] | undefined> {
  const found = await runProcess('wipefs', ['--no-act', '--json', device], { timeoutMs: 60_000 });
  if (found.exitCode !== 0) return undefined;
  if (found.stdout.trim() === '') return [];
  const { signatures } = JSON.parse(found.stdout) as { signatures: { type: string }[] };
  return signatures.map((signature) => signature.type);
}

function describe(facts: Map<string, string>, signatures: readonly string[]): string {
  const type = facts.get('TYPE') ?? facts.get('PTTYPE') ?? signatures[0] ?? 'unknown';
  const noun =
    facts.get('USAGE') === 'filesystem'
      ? 'file system'
      : facts.has('PTTYPE')
        ? 'partition table'
        : 'signature';
  const label = facts.get('LABEL')?.replace(/[^ -~]/g, '?');
  return `${/^[aeiou]/.test(type) ? 'an' : 'a'} ${type} ${noun}${label === undefined ? '' : ` "${label}"`}`;
}
