/** What a set-back takes out of use, in words, and whether that has grown since somebody agreed to it. */
import type { WrittenSince } from './schema.ts';

/** Beyond that share it is another loss than the one that was agreed to. */
const MOST_GROWTH = 1.1;
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Each more than a tenth more than then, or any further person; entries of the audit log come by asking alone, and do not count. */
export function hasGrown(then: WrittenSince, now: WrittenSince): boolean {
  if (now.people > then.people) return true;
  return (['files', 'bytes', 'deletions'] as const).some((part) => now[part] > then[part] * MOST_GROWTH);
}

/** `132 files added or changed (1.2 GiB), 3 deletions, no accounts of people, 310 entries of the audit log`. */
export function tellLost({ files, bytes, deletions, people, acts }: WrittenSince): string {
  return [
    `${count(files, 'file')} added or changed (${size(bytes)})`,
    count(deletions, 'deletion'),
    `${people === 1 ? '1 account' : `${people === 0 ? 'no' : String(people)} accounts`} of people`,
    `${acts === 1 ? '1 entry' : `${String(acts)} entries`} of the audit log`,
  ].join(', ');
}

function count(number: number, noun: string): string {
  if (number === 1) return `1 ${noun}`;
  return `${number === 0 ? 'no' : number.toLocaleString('en-GB')} ${noun}s`;
}

function size(bytes: number): string {
  const power = bytes < 1024 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1);
  const value = bytes / 1024 ** power;
  return `${value.toFixed(power === 0 || value >= 100 ? 0 : 1)} ${UNITS[power] ?? ''}`;
}
