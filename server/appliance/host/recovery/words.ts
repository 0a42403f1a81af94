/** A recovery in sentences, for the page and the console. */
import type { RecoveryStatus } from './schema.ts';

/** A title, then what it means and what to do. */
export function describeRecovery(status: RecoveryStatus): string[] {
  switch (status.act) {
    case 'recovery':
      return describeBlank(status);
    case 'set-back':
      return describeSetBack(status, {
        running: `This appliance is set back to its data of ${instant(status.dataFrom)}`,
        failed: 'The set-back did not succeed',
        done: 'The appliance is set back',
      });
    case 'undo':
      return describeSetBack(status, {
        running: 'A set-back of this appliance is undone',
        failed: 'The set-back could not be undone',
        done: 'The set-back is undone',
      });
  }
}

function describeBlank(status: RecoveryStatus): string[] {
  switch (status.state) {
    case 'running':
      return [
        'An appliance is being recovered onto this machine',
        `${status.step ?? 'It begins'}${amount(status)}.`,
        'Do not switch this machine off: it would be empty again. The backups are not at risk.',
        'When it is whole, its sign-in page comes in place of this one.',
      ];
    case 'failed':
      return [
        'The recovery did not succeed',
        ...problemOf(status),
        'This machine is empty again, and the backups are as they were. Start over with the new claim code, which the console shows.',
      ];
    case 'done':
      return ['The appliance is recovered', 'It is starting. Sign in as before.'];
    case 'none':
      return ['Nothing is being recovered', 'The appliance is starting.'];
  }
}

function describeSetBack(
  status: RecoveryStatus,
  titles: { running: string; failed: string; done: string },
): string[] {
  switch (status.state) {
    case 'running':
      return [
        titles.running,
        `${status.step ?? 'It begins'}${amount(status)}.`,
        'The data in use until now are kept. Should the machine be switched off meanwhile, it starts with them by itself.',
        'When it is over, the sign-in page comes in place of this one.',
      ];
    case 'failed':
      return [titles.failed, ...problemOf(status), 'The appliance is starting.'];
    case 'done':
    case 'none':
      return [titles.done, 'It is starting.'];
  }
}

function problemOf({ problem }: RecoveryStatus): string[] {
  if (problem === null) return [];
  return [withStop(problem.message), ...(problem.hint === null ? [] : [problem.hint])];
}

/** `2026-11-22 06:15 UTC`. */
function instant(at: string | null): string {
  return at === null ? 'an earlier time' : `${at.slice(0, 16).replace('T', ' ')} UTC`;
}

function amount({ bytesDone, bytesTotal, filesDone }: RecoveryStatus): string {
  if (bytesDone === 0) return '';
  const share =
    bytesTotal === null || bytesTotal === 0
      ? ''
      : `${String(Math.floor((bytesDone / bytesTotal) * 100))} %, `;
  const files = filesDone === 0 ? '' : `, ${String(filesDone)} files`;
  return `: ${share}${mebibytes(bytesDone)} MiB${files}`;
}

function mebibytes(bytes: number): string {
  return (bytes / 1_048_576).toFixed(bytes < 10_485_760 ? 1 : 0);
}

function withStop(sentence: string): string {
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}
