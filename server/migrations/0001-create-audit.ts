import { sql, type Kysely } from 'kysely';

/** The audit log: rows are only ever inserted; triggers refuse everything else, for every role. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table audit_entries (
      number bigint generated always as identity primary key,
      id uuid not null unique,
      at timestamptz not null,
      actor_kind text not null check (actor_kind in ('user', 'system', 'console')),
      actor_id uuid,
      actor_label text,
      session_id uuid,
      action text not null,
      object_type text not null,
      object_id text,
      workspace_id uuid,
      result text not null check (result in ('done', 'refused', 'failed')),
      address inet,
      request_id text,
      detail jsonb not null default '{}',
      salt bytea not null check (octet_length(salt) = 16)
    )`.execute(db);
  await sql`create index audit_entries_at on audit_entries (at)`.execute(db);
  await sql`create index audit_entries_object on audit_entries (object_type, object_id, number)`.execute(db);
  await sql`create index audit_entries_actor on audit_entries (actor_id, number)`.execute(db);
  await sql`create index audit_entries_action on audit_entries (action, number)`.execute(db);
  await sql`
    create function refuse_audit_change() returns trigger language plpgsql as $$
    begin
      raise exception 'audit entries are never changed or removed' using errcode = 'HF001';
    end $$`.execute(db);
  await sql`
    create trigger audit_entries_no_change before update or delete on audit_entries
    for each row execute function refuse_audit_change()`.execute(db);
  await sql`
    create trigger audit_entries_no_truncate before truncate on audit_entries
    for each statement execute function refuse_audit_change()`.execute(db);
}
