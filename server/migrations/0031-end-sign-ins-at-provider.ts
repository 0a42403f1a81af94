import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/** What the provider ended while somebody was on the way back from it: since when a link, and which of its sessions. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`alter table linked_identities add column logged_out_at timestamptz`.execute(db);
  await sql`
    create table single_sign_on_ended (
      session_hash bytea primary key check (octet_length(session_hash) = 32),
      expires_at timestamptz not null
    )`.execute(db);
  await sql`create index single_sign_on_ended_expiry on single_sign_on_ended (expires_at)`.execute(db);
}
