/** How a set-back reads: what goes out of use, in numbers, and when something of it is still to be said. */
import type {
  SetBackPlan,
  SetBackPoint,
  SetBackRecord,
  SetBackRequest,
  WrittenSince,
} from '../../../../api/set-back.ts';
import { formatBytes, formatCount, plural } from '../../../../lib/format.ts';
import type { Tone } from '../../../../lib/states.ts';

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

/** What has become more, then and now. */
export function growthOf(then: WrittenSince, now: WrittenSince): string[] {
  return [
    now.files > then.files
      ? `${plural(now.files, 'file')} added or changed instead of ${formatCount(then.files)}`
      : '',
    now.bytes > then.bytes ? `${formatBytes(now.bytes)} instead of ${formatBytes(then.bytes)}` : '',
    now.deletions > then.deletions
      ? `${plural(now.deletions, 'deletion')} instead of ${formatCount(then.deletions)}`
      : '',
    now.people > then.people ? `${plural(now.people, 'account')} instead of ${formatCount(then.people)}` : '',
  ].filter((line) => line !== '');
}

export const REQUEST_TONES: Record<SetBackRequest['state'], Tone> = {
  open: 'info',
  waiting: 'info',
  permitted: 'ok',
  used: 'neutral',
  refused: 'bad',
  withdrawn: 'neutral',
  expired: 'warn',
  failed: 'bad',
  lapsed: 'warn',
  'taken-back': 'warn',
  void: 'warn',
};

/** What became of a request; the page adds who and until when. */
export function wordsOf({ state }: Pick<SetBackRequest, 'state'>): string {
  const words: Record<SetBackRequest['state'], string> = {
    open: 'It is asked for.',
    waiting: 'It is asked for, and waits.',
    permitted: 'It is approved.',
    used: 'The last approval was used.',
    refused: 'It was refused.',
    withdrawn: 'The request was withdrawn.',
    expired: 'Nobody decided in time.',
    failed: 'It could not be approved.',
    lapsed: 'It was approved, and nobody began it within 24 hours.',
    'taken-back': 'The approval was taken back.',
    void: 'It was approved, but the machine was set back since, or the snapshot lies elsewhere: that approval counts no more.',
  };
  return words[state];
}

/** Why a wish cannot be sent yet. @param withReason false where it was given before. */
export function whyNotConfirmed(
  typed: { reason: string; name: string },
  applianceName: string,
  withReason = true,
): string | undefined {
  if (withReason && typed.reason.trim().length < LEAST_REASON)
    return `The reason needs at least ${LEAST_REASON} characters`;
  return typed.name.trim() === applianceName.trim()
    ? undefined
    : 'The name of the appliance is not typed yet';
}

/** What a plan is of. */
export function pointOf({
  snapshot,
  moment,
  target,
}: Pick<SetBackPlan, 'snapshot' | 'moment' | 'target'>): SetBackPoint {
  return { snapshot: snapshot.id, ...(moment === null ? {} : { moment, target: target.id }) };
}

/** Whose data come into use. */
export function dataOf({
  snapshot,
  moment,
}: {
  snapshot: { takenAt: string };
  moment?: string | null;
}): string {
  return moment ?? snapshot.takenAt;
}
