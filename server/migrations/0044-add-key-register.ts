import { sql, type Kysely } from 'kysely';

/** An older version writes no events; what is missing is added from the keyring when the newer one starts. */
export const worksWith = '0007-create-restore-tests';

/**
 * Who could open the backups on which day. What happened to kits, generations and the test identity, and who kept which kit: rows are
 * added and never changed, so that an answer about a day stays what it was. Also which keys a target was given last.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table key_events (
      id bigint generated always as identity primary key,
      kind text not null check (kind in ('made', 'added', 'proven', 'retired', 'generation', 'identity-on', 'identity-off')),
      at timestamptz not null,
      kit_id uuid,
      generations integer[],
      recorded_at timestamptz not null,
      check ((kit_id is not null) = (kind in ('made', 'added', 'proven', 'retired'))),
      check ((generations is not null) = (kind in ('added', 'generation', 'identity-on')))
    )`.execute(db);
  await sql`
    create table kit_keepings (
      id uuid primary key,
      kit_id uuid not null,
      subject_key_id uuid not null,
      words_sealed bytea not null,
      handed_over_on date,
      review_on date,
      recorded_at timestamptz not null
    )`.execute(db);
  await sql`create index kit_keepings_kit on kit_keepings (kit_id, recorded_at)`.execute(db);
  await sql`
    create function refuse_change() returns trigger language plpgsql as $$
    begin
      raise exception 'rows of % are added and never changed', tg_table_name;
    end $$`.execute(db);
  for (const table of ['key_events', 'kit_keepings']) {
    await sql`
      create trigger never_changed before update or delete on ${sql.table(table)}
      for each row execute function refuse_change()`.execute(db);
  }
  // What the audit log still knows of kits from before.
  await sql`
    insert into key_events (kind, at, kit_id, generations, recorded_at)
    select case when action = 'appliance.recovery-kit.begun' then 'made'
        when row_number() over (partition by action, object_id order by at) = 1 then 'added' else 'proven' end,
      at, object_id::uuid,
      case when action = 'appliance.recovery-kit.proven'
        and row_number() over (partition by action, object_id order by at) = 1 then array[1] end,
      now()
    from audit_entries
    where action in ('appliance.recovery-kit.begun', 'appliance.recovery-kit.proven') and object_id ~ '^[0-9a-f-]{36}$'
    order by at`.execute(db);
  await sql`
    alter table targets
      add column keys_object text,
      add column keys_published_at timestamptz`.execute(db);
}
