import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * One index for each filter of the log, each in the order in which the log is shown, so that a page is read and nothing sorted;
 * and the filters that people keep.
 */
export async function up(db: Kysely<never>): Promise<void> {
  for (const name of ['at', 'object', 'actor', 'action']) {
    await sql`drop index ${sql.ref(`audit_entries_${name}`)}`.execute(db);
  }
  await sql`create index audit_entries_by_time on audit_entries (at, number)`.execute(db);
  await sql`create index audit_entries_by_action on audit_entries (action, at, number)`.execute(db);
  await sql`create index audit_entries_by_type on audit_entries (object_type, at, number)`.execute(db);
  await sql`
    create index audit_entries_by_actor on audit_entries (actor_id, at, number) where actor_id is not null`.execute(
    db,
  );
  await sql`
    create index audit_entries_by_label on audit_entries (actor_label, at, number)
    where actor_label is not null`.execute(db);
  await sql`
    create index audit_entries_by_kind on audit_entries (actor_kind, at, number)
    where actor_kind <> 'user'`.execute(db);
  await sql`
    create index audit_entries_by_object on audit_entries (object_id, at, number)
    where object_id is not null`.execute(db);
  await sql`
    create index audit_entries_by_address on audit_entries (address, at, number)
    where address is not null`.execute(db);
  await sql`
    create index audit_entries_by_result on audit_entries (result, at, number) where result <> 'done'`.execute(
    db,
  );
  await sql`
    create table audit_filters (
      id uuid primary key,
      user_id uuid not null,
      name text not null check (length(name) between 1 and 80),
      query text not null check (length(query) <= 2000),
      created_at timestamptz not null,
      unique (user_id, name)
    )`.execute(db);
}
