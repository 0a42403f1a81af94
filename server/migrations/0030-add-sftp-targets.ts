import { sql, type Kysely } from 'kysely';

/** An older version takes an SFTP target for a folder that is not there: it sends nothing, and says so. */
export const worksWith = '0007-create-restore-tests';

/** Targets on SFTP servers, and how to sign in to them: a password or a private key, sealed. A key may be made before its target is. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`alter table targets drop constraint targets_kind_check`.execute(db);
  await sql`
    alter table targets add constraint targets_kind_check check (kind in ('directory', 'sftp'))`.execute(db);
  await sql`
    create table target_sign_ins (
      id uuid primary key,
      kind text not null check (kind in ('password', 'private-key')),
      public_key text,
      secret_sealed bytea not null,
      key_id uuid not null,
      created_at timestamptz not null,
      check (kind = 'private-key' or public_key is null)
    )`.execute(db);
}
