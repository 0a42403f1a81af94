import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/** An approved set-back is a permit: somebody begins it with the recovery kit, once and in time. What it is for, its approval says. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table set_back_permits (
      approval_id uuid primary key references approvals (id),
      snapshot_id text not null,
      given_at timestamptz not null,
      expires_at timestamptz not null check (expires_at > given_at),
      state text not null check (state in ('open', 'used', 'withdrawn', 'expired', 'void')),
      ended_at timestamptz,
      ended_by uuid references users (id),
      check ((state = 'open') = (ended_at is null)),
      check (state <> 'open' or ended_by is null)
    )`.execute(db);
  await sql`create index set_back_permits_open on set_back_permits (snapshot_id) where state = 'open'`.execute(
    db,
  );
}
