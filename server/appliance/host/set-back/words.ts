/** The last set-back in a sentence, for the console. */
import type { SetBackView } from './schema.ts';

/** @returns undefined where there is nothing to say any more. */
export function describeSetBackRecord(record: SetBackView['record']): string | undefined {
  if (record === null) return undefined;
  const data = `its data of ${minute(record.moment ?? record.snapshot.takenAt)}`;
  const why = record.problem === null ? '' : `: ${record.problem.message}`;
  switch (record.state) {
    case 'failed':
      return `Setting this appliance back to ${data} failed${why}. The data from before are in use.`;
    case 'kept':
      return `This appliance is set back to ${data}; those from before are kept until ${minute(record.keptUntil ?? record.at)}${record.problem === null ? '' : `. Undoing it failed${why}`}`;
    case 'starting':
      return `This appliance starts with ${data}; if it does not, it goes back by itself`;
    case 'starting-back':
      return 'This appliance starts with its data from before it was set back; if it does not, it stays set back';
    default:
      return undefined;
  }
}

/** `2026-11-22 06:15 UTC`. */
function minute(at: string): string {
  return `${at.slice(0, 16).replace('T', ' ')} UTC`;
}
