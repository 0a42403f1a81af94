import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/** Which file is the operator's list of leaked passwords, and since when somebody's password is known to be in one. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table leaked_password_list (
      singleton boolean primary key default true check (singleton),
      file_name text not null check (file_name ~ '^leaked-[0-9a-f]{16}[.]bin$'),
      passwords bigint not null,
      size_bytes bigint not null,
      at_least integer not null check (at_least >= 1),
      imported_at timestamptz not null
    )`.execute(db);
  await sql`alter table users add column password_leaked_at timestamptz`.execute(db);
}
