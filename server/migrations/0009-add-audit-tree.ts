import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * The Merkle tree over the audit log: entries that wait for their place, the places with their hashes, and the roots of full
 * tiles above them. Places are only ever added; waiting entries are put there by a trigger, whoever inserts an entry.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`create table audit_pending (number bigint primary key)`.execute(db);
  await sql`
    create table audit_leaves (
      position bigint primary key check (position >= 0),
      entry_number bigint not null unique,
      hash bytea not null check (octet_length(hash) = 32)
    )`.execute(db);
  await sql`
    create table audit_tree_nodes (
      level smallint not null check (level > 0 and level % 8 = 0),
      position bigint not null check (position >= 0),
      hash bytea not null check (octet_length(hash) = 32),
      primary key (level, position)
    )`.execute(db);
  await sql`
    create function refuse_audit_log_change() returns trigger language plpgsql as $$
    begin
      raise exception 'the audit log is only added to' using errcode = 'HF001';
    end $$`.execute(db);
  for (const table of ['audit_leaves', 'audit_tree_nodes']) {
    await sql`
      create trigger ${sql.ref(`${table}_no_change`)} before update or delete on ${sql.table(table)}
      for each row execute function refuse_audit_log_change()`.execute(db);
    await sql`
      create trigger ${sql.ref(`${table}_no_truncate`)} before truncate on ${sql.table(table)}
      for each statement execute function refuse_audit_log_change()`.execute(db);
  }
  const { rows } = await sql<{ schema: string }>`select current_schema() as schema`.execute(db);
  // As its owner, so that no one who may add an entry needs a right on the waiting ones; temporary tables, which the caller may have
  // made under the same names, are looked for last.
  await sql`
    create function queue_audit_entry() returns trigger language plpgsql security definer
    set search_path = ${sql.id(rows[0]?.schema ?? 'public')}, pg_temp as $$
    begin
      insert into audit_pending (number) values (new.number);
      return null;
    end $$`.execute(db);
  await sql`insert into audit_pending (number) select number from audit_entries`.execute(db);
  await sql`
    create trigger audit_entries_queue after insert on audit_entries
    for each row execute function queue_audit_entry()`.execute(db);
}
