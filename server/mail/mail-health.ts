/** What the overview says of mail. */
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { readMailSettings } from './settings.ts';

export interface MailHealth {
  state: 'ok' | 'warn' | 'bad';
  message: string;
  hint?: string;
}

/** A server that failed once a moment ago is tried again; one that fails this long needs somebody. */
const FAILING_MS = 15 * 60_000;

export async function checkMailHealth(deps: { db: Database; clock: Clock }): Promise<MailHealth> {
  const { settings, state, problem, waiting, failedLastWeek, lastSentAt } = await readMailSettings(deps);
  if (settings === null)
    return { state: 'ok', message: 'No mail server is set up: notices and links are not sent by mail' };
  if (state === 'paused') {
    return { state: 'warn', message: `Sending mail is paused; ${waiting} waiting`, hint: 'Settings, Mail.' };
  }
  if (problem !== null) {
    const since = Date.parse(lastSentAt ?? settings.changedAt);
    const long = deps.clock.now().getTime() - since > FAILING_MS;
    return {
      state: long ? 'bad' : 'warn',
      message: `Mail is not sent: ${problem.message}. ${waiting} waiting`,
      ...(problem.hint === undefined ? {} : { hint: problem.hint }),
    };
  }
  if (failedLastWeek > 0) {
    return {
      state: 'warn',
      message: `${failedLastWeek} ${failedLastWeek === 1 ? 'message was' : 'messages were'} not delivered in the last seven days`,
      hint: 'The log of mail says to whom and why.',
    };
  }
  if (settings.leastTls === '1.2') {
    return {
      state: 'warn',
      message: 'Mail may be sent with TLS 1.2, which is weaker than 1.3',
      hint: 'Set it to 1.3 once the mail server speaks it.',
    };
  }
  return { state: 'ok', message: `Mail goes by ${settings.host}` };
}
