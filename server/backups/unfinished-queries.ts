import { sql } from 'kysely';
import type { Database } from '../lib/db.ts';

/** The folder that a restore fills, kept with its run, so that it is known when the process is killed. */
export async function noteUnfinished(db: Database, runId: string, folderId: string): Promise<void> {
  await sql`update runs set input = input || jsonb_build_object('unfinished', ${folderId}::text)
    where id = ${runId}`.execute(db);
}

/** Of restores that ended without being whole. */
export async function listUnfinished(db: Database): Promise<{ runId: string; folderId: string }[]> {
  const { rows } = await sql<{ runId: string; folderId: string }>`
    select id as "runId", input ->> 'unfinished' as "folderId" from runs
    where kind = 'restore-folder' and state in ('failed', 'cancelled') and input ? 'unfinished'
    order by created_at limit 100`.execute(db);
  return rows;
}

export async function forgetUnfinished(db: Database, runId: string): Promise<void> {
  await sql`update runs set input = input - 'unfinished' where id = ${runId}`.execute(db);
}
