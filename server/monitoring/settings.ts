/** Who is told of alerts, of which, and how often. */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { readSettingsRow, writeSettingsRow } from './queries.ts';
import type { AlertSettings } from './schema.ts';

export async function readAlertSettings(db: Database): Promise<AlertSettings> {
  const row = await readSettingsRow(db);
  return {
    recipients: row.recipients as AlertSettings['recipients'],
    least: row.least as AlertSettings['least'],
    remindHours: row.remind_hours,
  };
}

export async function changeAlertSettings(
  deps: { db: Database; clock: Clock },
  change: AlertSettings,
  actor: Actor,
): Promise<AlertSettings> {
  return writeTransaction(deps.db, async (tx) => {
    const from = await readAlertSettings(tx);
    const { recipients, least, remindHours } = change;
    await writeSettingsRow(tx, { recipients, least, remind_hours: remindHours });
    await recordAudit(tx, deps.clock, actor, {
      action: 'monitoring.settings.changed',
      objectType: 'settings',
      objectId: 'alerts',
      detail: { from, to: change },
    });
    return change;
  });
}
