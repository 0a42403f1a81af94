import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/**
 * Access reviews: a list of what there was at one moment, decided item by item, and signed; nothing of a signed one changes. And of
 * requests for approval: what they were asked about looked like, and how long they have waited while the server ran.
 */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    create table access_review_settings (
      singleton boolean primary key default true check (singleton),
      every_months integer not null default 12 check (every_months between 0 and 36),
      days_to_decide integer not null default 30 check (days_to_decide between 1 and 180),
      announced_for timestamptz
    )`.execute(db);
  await sql`insert into access_review_settings default values`.execute(db);
  await sql`
    create table access_reviews (
      id uuid primary key,
      number integer generated always as identity unique,
      cause text not null check (cause in ('person', 'schedule')),
      started_by uuid,
      started_at timestamptz not null,
      due_at timestamptz not null,
      reminded_at timestamptz,
      state text not null check (state in ('open', 'signed')),
      signed_by uuid,
      signed_at timestamptz,
      statement_sealed bytea,
      sha256 text,
      check ((state = 'signed') = (signed_by is not null and signed_at is not null and sha256 is not null))
    )`.execute(db);
  await sql`create unique index access_reviews_open on access_reviews ((true)) where state = 'open'`.execute(
    db,
  );
  await sql`
    create table access_review_items (
      id uuid primary key,
      review_id uuid not null references access_reviews (id),
      thing text not null,
      kind text not null check (kind in ('account', 'team', 'workspace', 'api-key')),
      user_id uuid,
      team_id uuid,
      workspace_id uuid,
      key_id uuid,
      subject_key_id uuid,
      name_sealed bytea,
      email_sealed bytea,
      facts jsonb not null,
      fingerprint text not null,
      kept_before boolean not null,
      decision text check (decision in ('keep', 'change', 'remove')),
      decided_by uuid,
      decided_at timestamptz,
      note_sealed bytea,
      outcome text,
      in_bulk boolean not null default false,
      audit_ids uuid[] not null default '{}',
      unique (review_id, thing),
      check ((decision is null) = (decided_at is null))
    )`.execute(db);
  await sql`
    create function refuse_signed_review_change() returns trigger language plpgsql
    set search_path = pg_catalog, public, pg_temp as $$
    declare
      signed boolean;
    begin
      if tg_table_name = 'access_reviews' then
        signed := old.state = 'signed';
      elsif tg_op = 'INSERT' then
        signed := exists (select from access_reviews where id = new.review_id and state = 'signed');
      else
        signed := exists (select from access_reviews where id = old.review_id and state = 'signed');
      end if;
      if signed then
        raise exception 'a signed access review is never changed or removed' using errcode = 'HF001';
      end if;
      if tg_op = 'DELETE' then
        return old;
      end if;
      return new;
    end $$`.execute(db);
  await sql`
    create trigger access_reviews_signed before update or delete on access_reviews
    for each row execute function refuse_signed_review_change()`.execute(db);
  await sql`
    create trigger access_review_items_signed before insert or update or delete on access_review_items
    for each row execute function refuse_signed_review_change()`.execute(db);
  await sql`
    alter table approvals
      add column seen jsonb,
      add column wait_ms bigint check (wait_ms > 0),
      add column waited_ms bigint check (waited_ms >= 0)`.execute(db);
  await sql`
    update approvals set wait_ms = 1000 * extract(epoch from runs_at - requested_at) where runs_at is not null`.execute(
    db,
  );
}
