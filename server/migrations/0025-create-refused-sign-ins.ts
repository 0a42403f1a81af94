import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * Refused sign-ins of the hour, for each network and, under '', of all together: how many have an entry in the audit log of their own, and
 * how many are still to be told in one.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table refused_sign_ins (
      network text primary key check (length(network) <= 64),
      address text check (length(address) <= 64),
      since timestamptz not null,
      last_at timestamptz not null,
      entries integer not null default 0 check (entries >= 0),
      folded integer not null default 0 check (folded >= 0)
    )`.execute(db);
}
