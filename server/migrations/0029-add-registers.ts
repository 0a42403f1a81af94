import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * Registers of what people have undertaken, were checked for and were trained in. What it is, its reference and its note lie sealed under
 * the person's own key. And which of them whoever joins has to do.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table register_entries (
      id uuid primary key,
      user_id uuid not null references users (id),
      kind text not null check (kind in ('confidentiality', 'background-check', 'training')),
      words_sealed bytea not null,
      done_on date,
      due_on date,
      created_at timestamptz not null,
      changed_at timestamptz not null,
      reminded_at timestamptz,
      version integer not null default 1,
      check (done_on is not null or due_on is not null)
    )`.execute(db);
  await sql`create index register_entries_user on register_entries (user_id)`.execute(db);
  await sql`create index register_entries_due on register_entries (due_on)`.execute(db);
  await sql`
    create table register_settings (
      singleton boolean primary key default true check (singleton),
      remind_days integer not null default 30 check (remind_days between 0 and 180),
      newcomers jsonb not null default '[]'
    )`.execute(db);
  await sql`insert into register_settings default values`.execute(db);
}
