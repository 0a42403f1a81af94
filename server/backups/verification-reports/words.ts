/** What a verification says, in one line, for a page, the log and the command. */
import { formatBytes } from '../../lib/byte-words.ts';
import type { VerificationReport } from './report.ts';
import type { Depth } from './schema.ts';

const DEPTHS: Record<Depth, string> = {
  content: 'Decrypted, and every chunk compared with its hash',
  hashes: 'By hashes alone: this appliance had no key to look inside',
  partly: 'Decrypted where there was a key; of the rest the hashes were compared',
};

export function depthWords(depth: Depth): string {
  return DEPTHS[depth];
}

export function describeVerification({
  scope,
  state,
  summary,
  readings,
}: Pick<VerificationReport, 'scope' | 'state' | 'summary' | 'readings'>): string {
  const what = scope === 'whole' ? 'Everything on the target' : `Everything, in ${summary.parts} parts,`;
  const read = `${what} was read back: ${summary.packs} packs, ${formatBytes(summary.bytes)}.`;
  if (state === 'whole') return `${read} Nothing was found damaged.`;
  const from = new Set(readings.flatMap(({ repaired }) => repaired.map((one) => one.from.name)));
  const by = from.size === 0 ? '' : ` by the copies on ${[...from].join(' and ')}`;
  const mended = summary.repaired === 0 ? '' : ` ${count(summary.repaired)} made whole${by}.`;
  return state === 'repaired'
    ? `${read} ${count(summary.found)} found damaged.${mended} No damage is left.`
    : `${read} ${count(summary.left)} found damaged and not repaired.${mended}`;
}

function count(objects: number): string {
  return objects === 1 ? '1 object was' : `${objects} objects were`;
}
