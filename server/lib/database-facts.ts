/** What PostgreSQL says of itself. */
import { sql } from 'kysely';
import type { Database } from './db.ts';

export interface ServerFacts {
  /** Such as `17.2`. */
  version: string;
  dataChecksums: boolean;
}

export async function readServerFacts(db: Database): Promise<ServerFacts> {
  const { rows } = await sql<{ version: string; checksums: string }>`
    select current_setting('server_version') as version, current_setting('data_checksums') as checksums`.execute(
    db,
  );
  return { version: rows[0]?.version ?? 'unknown', dataChecksums: rows[0]?.checksums === 'on' };
}
