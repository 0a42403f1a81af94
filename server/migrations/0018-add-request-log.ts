import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/** How long and how large the log of requests may get (the log itself lies in files), and the way from a request to its audit entries. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table request_log_settings (
      singleton boolean primary key default true check (singleton),
      days integer not null check (days between 1 and 400),
      most_mib integer not null check (most_mib between 16 and 65536),
      changed_at timestamptz
    )`.execute(db);
  await sql`insert into request_log_settings (days, most_mib) values (30, 512)`.execute(db);
  await sql`
    create index audit_entries_by_request on audit_entries (request_id, at, number)
    where request_id is not null`.execute(db);
}
