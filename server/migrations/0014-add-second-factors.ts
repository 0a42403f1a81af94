import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * Second factors, and sign-ins that wait for one. The secret of an authenticator app and the names of passkeys are sealed under the
 * person's subject key; tokens and recovery codes are kept as hashes.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table authenticator_apps (
      user_id uuid primary key references users (id) on delete cascade,
      secret_sealed bytea,
      confirmed_at timestamptz,
      last_step bigint not null default 0,
      last_used_at timestamptz,
      pending_sealed bytea,
      pending_at timestamptz,
      check ((secret_sealed is null) = (confirmed_at is null)),
      check ((pending_sealed is null) = (pending_at is null))
    )`.execute(db);
  await sql`
    create table passkeys (
      id uuid primary key,
      user_id uuid not null references users (id) on delete cascade,
      credential_id bytea not null unique check (octet_length(credential_id) between 1 and 1023),
      public_key bytea not null,
      relying_party text not null,
      counter bigint not null,
      transports text[] not null,
      backup_eligible boolean not null,
      backed_up boolean not null,
      name_sealed bytea not null,
      created_at timestamptz not null,
      last_used_at timestamptz
    )`.execute(db);
  await sql`create index passkeys_user on passkeys (user_id)`.execute(db);
  await sql`
    create table recovery_codes (
      code_hash bytea primary key,
      user_id uuid not null references users (id) on delete cascade,
      created_at timestamptz not null,
      used_at timestamptz
    )`.execute(db);
  await sql`create index recovery_codes_user on recovery_codes (user_id)`.execute(db);
  await sql`
    create table passkey_challenges (
      session_id uuid not null references sessions (id) on delete cascade,
      purpose text not null check (purpose in ('enrol', 'proof')),
      challenge text not null,
      expires_at timestamptz not null,
      primary key (session_id, purpose)
    )`.execute(db);
  await sql`
    create table pending_sign_ins (
      id uuid primary key,
      token_hash bytea not null unique,
      user_id uuid references users (id) on delete cascade,
      attempts integer not null default 0,
      challenge text,
      expires_at timestamptz not null
    )`.execute(db);
  await sql`create index pending_sign_ins_expiry on pending_sign_ins (expires_at)`.execute(db);
  await sql`create index pending_sign_ins_user on pending_sign_ins (user_id)`.execute(db);
  await sql`create index sign_in_failures_last on sign_in_failures (last_at)`.execute(db);
  await sql`
    create table sign_in_settings (
      singleton boolean primary key default true check (singleton),
      members_need_second_factor boolean not null default false
    )`.execute(db);
  await sql`insert into sign_in_settings default values`.execute(db);
}
