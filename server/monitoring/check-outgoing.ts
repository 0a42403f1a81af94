/** What a look finds of the calls outside themselves: a watcher that nobody hears is none. */
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { findHeartbeat } from './heartbeat/heartbeat-queries.ts';
import type { Finding } from './keep-alerts.ts';
import { alertOfReceiver } from './webhooks/queue-events.ts';
import type { CallAnswer } from './webhooks/schema.ts';
import { listReceiverStates, listWebhookRows } from './webhooks/webhook-queries.ts';

/** A receiver may be away that long before it is said. */
const AWAY_MS = 3_600_000;

export async function checkOutgoing({
  db,
  clock,
}: {
  db: Database;
  clock: Clock;
}): Promise<(Finding & { hint: string })[]> {
  const now = clock.now().getTime();
  const findings: (Finding & { hint: string })[] = [];
  const heartbeat = await findHeartbeat(db);
  if (heartbeat?.paused === true)
    findings.push({
      ...{
        name: 'heartbeat',
        state: 'warn',
        message: 'The heartbeat is paused: nobody outside would notice',
      },
      hint: 'Let it go on, or remove it, under Alerts, Heartbeat.',
    });
  else if (heartbeat?.failing_since != null) {
    const answer = heartbeat.answer as CallAnswer | null;
    const long = now - heartbeat.failing_since.getTime() > AWAY_MS;
    findings.push({
      ...{ name: 'heartbeat', state: long ? 'bad' : 'warn' },
      message: `The heartbeat is not answered: ${answer?.message ?? 'unknown'}`,
      hint: answer?.hint ?? 'See Alerts, Heartbeat.',
    });
  }
  const [rows, states] = await Promise.all([listWebhookRows(db), listReceiverStates(db)]);
  for (const row of rows) {
    const state = states.get(row.id);
    if (row.paused || state === undefined) continue;
    const name = alertOfReceiver(row.name);
    const hint = 'Alerts, Webhooks shows what each try was answered; there it can be tried again.';
    if (state.has_given_up) {
      const answer = state.given_up as CallAnswer | null;
      const why = answer === null ? '' : `: ${answer.message}`;
      findings.push({ name, state: 'bad', message: `An event was given up${why}`, hint });
    } else if (state.waiting_since !== null && now - state.waiting_since.getTime() > AWAY_MS)
      findings.push({ name, state: 'warn', message: 'It takes no events for more than an hour', hint });
  }
  return findings;
}
