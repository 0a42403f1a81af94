/** What restore tests are held to, and how long an assertion may take. */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { readSettingsRow, writeSettingsRow } from './queries.ts';
import type { RestoreTestSettings } from './schema.ts';

export async function readTestSettings(db: Database): Promise<RestoreTestSettings> {
  const row = await readSettingsRow(db);
  return {
    rtoMinutes: row.rto_minutes,
    rpoMinutes: row.rpo_minutes,
    assertionSeconds: row.assertion_seconds,
  };
}

export async function changeTestSettings(
  deps: { db: Database; clock: Clock },
  change: RestoreTestSettings,
  actor: Actor,
): Promise<RestoreTestSettings> {
  return writeTransaction(deps.db, async (tx) => {
    const from = await readTestSettings(tx);
    const { rtoMinutes, rpoMinutes, assertionSeconds } = change;
    await writeSettingsRow(tx, {
      rto_minutes: rtoMinutes,
      rpo_minutes: rpoMinutes,
      assertion_seconds: assertionSeconds,
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'restore-tests.settings.changed',
      objectType: 'settings',
      objectId: 'restore-tests',
      detail: { from, to: change },
    });
    return change;
  });
}
