import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * Links that are sent by mail: to set a new password, to sign in, to confirm an address. A token is kept as its hash. What somebody asked
 * for is written down for everybody alike, and looked at after the answer. A pending sign-in knows what came before its second step.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table mail_links (
      id uuid primary key,
      kind text not null check (kind in ('password-reset', 'magic-link', 'email-change')),
      token_hash bytea not null unique check (octet_length(token_hash) = 32),
      user_id uuid not null references users (id) on delete cascade,
      browser_hash bytea check (octet_length(browser_hash) = 32),
      email_sealed bytea,
      created_at timestamptz not null,
      expires_at timestamptz not null,
      check ((kind = 'magic-link') = (browser_hash is not null)),
      check ((kind = 'email-change') = (email_sealed is not null))
    )`.execute(db);
  await sql`create index mail_links_user on mail_links (user_id)`.execute(db);
  await sql`create index mail_links_expiry on mail_links (expires_at)`.execute(db);
  await sql`
    create table mail_link_asks (
      id uuid primary key,
      kind text not null check (kind in ('password-reset', 'magic-link')),
      email_hash bytea not null,
      browser_hash bytea check (octet_length(browser_hash) = 32),
      origin text not null,
      address text,
      user_agent text,
      request_id text,
      asked_at timestamptz not null
    )`.execute(db);
  await sql`
    alter table pending_sign_ins
      add column if not exists methods text[] not null default '{password}'`.execute(db);
  await sql`alter table workspaces add column magic_links boolean not null default false`.execute(db);
}
