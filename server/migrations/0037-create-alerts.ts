import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/** What is not well, from when to when, who was told and who has seen it. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table alerts (
      id uuid primary key,
      name text not null check (length(name) between 1 and 200),
      state text not null check (state in ('warn', 'bad')),
      message text not null check (length(message) <= 2000),
      hint text check (length(hint) <= 2000),
      first_seen_at timestamptz not null,
      raised_at timestamptz,
      clear_since timestamptz,
      ended_at timestamptz,
      told_at timestamptz,
      told integer not null default 0 check (told >= 0),
      acknowledged_at timestamptz,
      acknowledged_by uuid,
      silent_until timestamptz,
      note text check (length(note) <= 500),
      check (ended_at is null or raised_at is not null),
      check ((acknowledged_at is null) = (silent_until is null))
    )`.execute(db);
  await sql`create unique index alerts_open on alerts (name) where ended_at is null`.execute(db);
  await sql`create index alerts_ended on alerts (ended_at desc, id desc) where ended_at is not null`.execute(
    db,
  );
  await sql`
    create table alert_settings (
      singleton boolean primary key default true check (singleton),
      recipients text not null default 'administrators' check (recipients in ('administrators', 'owners', 'nobody')),
      least text not null default 'bad' check (least in ('warn', 'bad')),
      remind_hours integer not null default 24 check (remind_hours between 1 and 168)
    )`.execute(db);
  await sql`insert into alert_settings default values`.execute(db);
}
