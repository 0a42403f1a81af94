/** A recovery in sentences, for the page and the console. */
import type { RecoveryStatus } from './schema.ts';

/** A title, then what it means and what to do. */
export function describeRecovery(status: RecoveryStatus): string[] {
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
        ...(status.problem === null ? [] : [withStop(status.problem.message), status.problem.hint ?? '']),
        'This machine is empty again, and the backups are as they were. Start over with the new claim code, which the console shows.',
      ].filter((sentence) => sentence !== '');
    case 'done':
      return ['The appliance is recovered', 'It is starting. Sign in as before.'];
    case 'none':
      return ['Nothing is being recovered', 'The appliance is starting.'];
  }
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
