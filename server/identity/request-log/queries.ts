import type { Database } from '../../lib/db.ts';

export interface RequestLogSettingsRow {
  days: number;
  most_mib: number;
  changed_at: Date | null;
}

export async function getRequestLogSettings(db: Database): Promise<RequestLogSettingsRow> {
  return db
    .selectFrom('request_log_settings')
    .select(['days', 'most_mib', 'changed_at'])
    .executeTakeFirstOrThrow();
}

/** @returns what was set before; waits for whoever changes it at the moment. */
export async function updateRequestLogSettings(
  db: Database,
  row: RequestLogSettingsRow,
): Promise<RequestLogSettingsRow> {
  const before = await db
    .selectFrom('request_log_settings')
    .selectAll()
    .forUpdate()
    .executeTakeFirstOrThrow();
  await db.updateTable('request_log_settings').set(row).execute();
  return before;
}
