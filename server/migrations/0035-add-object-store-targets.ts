import { sql, type Kysely } from 'kysely';

/** An older version takes an S3 target for an SFTP server without a host, which it cannot reach: it sends nothing, and says so. */
export const worksWith = '0007-create-restore-tests';

/** Targets on S3 servers, and their access keys: the id in the clear (`public_key`), the secret sealed. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`alter table targets drop constraint targets_kind_check`.execute(db);
  await sql`
    alter table targets add constraint targets_kind_check check (kind in ('directory', 'sftp', 's3'))`.execute(
    db,
  );
  await sql`alter table target_sign_ins drop constraint target_sign_ins_kind_check`.execute(db);
  await sql`alter table target_sign_ins drop constraint target_sign_ins_check`.execute(db);
  await sql`
    alter table target_sign_ins
      add constraint target_sign_ins_kind_check check (kind in ('password', 'private-key', 'access-key')),
      add constraint target_sign_ins_public_check check (kind <> 'password' or public_key is null)`.execute(
    db,
  );
}
