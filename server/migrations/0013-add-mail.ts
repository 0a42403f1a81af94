import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * How mail is sent, and the queue of messages, which is the log of what was sent too. To whom and what lies sealed; the content goes
 * when a message has ended.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table mail_settings (
      singleton boolean primary key default true check (singleton),
      host text not null,
      port integer not null check (port between 1 and 65535),
      security text not null check (security in ('implicit', 'starttls')),
      least_tls text not null default '1.3' check (least_tls in ('1.3', '1.2')),
      ca_certificates text,
      username text,
      password_sealed bytea,
      sender_name text not null,
      sender_address text not null,
      messages_a_minute integer not null default 60 check (messages_a_minute between 1 and 600),
      paused boolean not null default false,
      changed_at timestamptz not null,
      last_sent_at timestamptz,
      problem_at timestamptz,
      problem jsonb,
      version bigint not null default 1
    )`.execute(db);
  await sql`
    create table mail_messages (
      id uuid primary key,
      template text not null,
      user_id uuid references users (id) on delete cascade,
      address_sealed bytea,
      data_sealed bytea,
      state text not null check (state in ('queued', 'sent', 'failed', 'cancelled', 'expired', 'unsendable')),
      attempts integer not null default 0,
      created_at timestamptz not null,
      expires_at timestamptz not null,
      next_attempt_at timestamptz,
      leased_until timestamptz,
      last_attempt_at timestamptz,
      ended_at timestamptz,
      message_id text,
      problem text,
      reply_code integer,
      answer_sealed bytea,
      check ((user_id is null) <> (address_sealed is null)),
      check ((state = 'queued') = (next_attempt_at is not null)),
      check (state = 'queued' or data_sealed is null or state = 'failed')
    )`.execute(db);
  await sql`create index mail_messages_due on mail_messages (next_attempt_at) where state = 'queued'`.execute(
    db,
  );
  await sql`create index mail_messages_listed on mail_messages (created_at desc, id desc)`.execute(db);
  await sql`create index mail_messages_attempted on mail_messages (last_attempt_at)`.execute(db);
  await sql`create index mail_messages_user on mail_messages (user_id, created_at desc)`.execute(db);
}
