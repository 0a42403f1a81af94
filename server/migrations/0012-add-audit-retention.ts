import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * How long entries of the audit log are kept, and what stays of those whose period has ended. One function takes entries away, and only
 * such: it looks itself whether the period has ended, by the database's clock, whoever calls it. No setting goes below a year for acts
 * and 30 days for reads of content.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table audit_retention (
      singleton boolean primary key default true check (singleton),
      acts_days integer not null check (acts_days between 365 and 36500),
      reads_days integer not null check (reads_days between 30 and 36500),
      reason text not null check (length(reason) between 1 and 500),
      changed_at timestamptz
    )`.execute(db);
  await sql`
    insert into audit_retention (acts_days, reads_days, reason)
    values (2557, 180, 'Acts for seven years, as long as records of a business are commonly asked for; who read which file for half a year, because that says more about people and there is far more of it.')`.execute(
    db,
  );
  await sql`
    create table audit_stubs (
      number bigint primary key,
      at timestamptz not null,
      kind text not null check (kind in ('act', 'read')),
      body bytea not null check (octet_length(body) = 32)
    )`.execute(db);
  await sql`
    create trigger audit_stubs_no_change before update or delete on audit_stubs
    for each row execute function refuse_audit_log_change()`.execute(db);
  await sql`
    create trigger audit_stubs_no_truncate before truncate on audit_stubs
    for each statement execute function refuse_audit_log_change()`.execute(db);
  // Whoever could use the setting without the function has the right to delete, and so to drop the trigger.
  await sql`
    create or replace function refuse_audit_change() returns trigger language plpgsql as $$
    begin
      if tg_op = 'DELETE' and current_setting('holdfast.audit_expiry', true) = 'on' then
        return old;
      end if;
      raise exception 'audit entries are never changed or removed' using errcode = 'HF001';
    end $$`.execute(db);
  const { rows } = await sql<{ schema: string }>`select current_schema() as schema`.execute(db);
  // Temporary tables, which the caller may have made under the same names, are looked for last.
  await sql`
    create function expire_audit_entries(numbers bigint[], bodies bytea[]) returns table (kind text)
    language plpgsql security definer set search_path = ${sql.id(rows[0]?.schema ?? 'public')}, pg_temp as $$
    #variable_conflict use_column
    begin
      perform set_config('holdfast.audit_expiry', 'on', true);
      return query
        with due as (
          select e.number, e.at, k.kind, w.body
          from unnest(numbers, bodies) as w (number, body)
          join audit_entries e on e.number = w.number
          join audit_leaves l on l.entry_number = e.number
          cross join lateral (
            select case when e.action in ('workspaces.file.downloaded', 'workspaces.file.previewed')
              then 'read' else 'act' end as kind) k
          cross join audit_retention r
          where e.action <> 'audit.log.continued'
            and e.at < now() - make_interval(days => case k.kind when 'read' then r.reads_days else r.acts_days end)
        ), gone as (
          delete from audit_entries e using due where e.number = due.number returning e.number
        ), kept as (
          insert into audit_stubs (number, at, kind, body) select due.number, due.at, due.kind, due.body from due
          returning audit_stubs.kind
        )
        select kept.kind from kept;
      perform set_config('holdfast.audit_expiry', 'off', true);
    end $$`.execute(db);
}
