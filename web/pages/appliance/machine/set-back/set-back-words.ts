/** How a set-back reads: what goes out of use, in numbers, and when something of it is still to be said. */
import type { SetBackRecord, WrittenSince } from '../../../../api/set-back.ts';
import { formatBytes, formatCount, plural } from '../../../../lib/format.ts';

/** A line for each kind of thing that was written; empty where nothing was. */
export function linesOf(written: WrittenSince): string[] {
  const { files, bytes, deletions, people, acts } = written;
  return [
    files > 0
      ? `${plural(files, 'file')} that ${files === 1 ? 'was' : 'were'} added or changed, ${formatBytes(bytes)}`
      : '',
    deletions > 0
      ? `${plural(deletions, 'deletion')}: what was deleted is there again, as far as it was there then`
      : '',
    people > 0 ? plural(people, 'account') : '',
    acts > 0 ? `${formatCount(acts)} ${acts === 1 ? 'entry' : 'entries'} of the audit log` : '',
  ].filter((line) => line !== '');
}

const SAID_FOR_MS = 7 * 86_400_000;

/** Something of it is under way, can be undone, or has just failed: pages speak of it. */
export function isWorthSaying(record: SetBackRecord | null | undefined, nowMs: number): boolean {
  if (!record) return false;
  if (record.state === 'undone' || record.state === 'discarded' || record.state === 'failed')
    return record.state === 'failed' && nowMs - Date.parse(record.at) < SAID_FOR_MS;
  return true;
}

/** The services are stopped or start: the appliance may not answer. */
export function isUnderWay(record: SetBackRecord): boolean {
  return !['kept', 'undone', 'failed', 'discarded'].includes(record.state);
}

export const LEAST_REASON = 10;

/** Why a wish cannot be sent yet. */
export function whyNotConfirmed(
  typed: { reason: string; name: string },
  applianceName: string,
): string | undefined {
  if (typed.reason.trim().length < LEAST_REASON)
    return `The reason needs at least ${LEAST_REASON} characters`;
  return typed.name.trim() === applianceName.trim()
    ? undefined
    : 'The name of the appliance is not typed yet';
}
