import { sql, type Kysely } from 'kysely';

export const worksWith = '0007-create-restore-tests';

/** A review of access can be withdrawn, and stays as it is then; and under which address people reached the appliance when it began. */
export async function up(db: Kysely<never>): Promise<void> {
  await sql`
    alter table access_reviews
      drop constraint access_reviews_state_check,
      add constraint access_reviews_state_check check (state in ('open', 'signed', 'withdrawn')),
      add column withdrawn_by uuid,
      add column withdrawn_at timestamptz,
      add column origin text,
      add check ((state = 'withdrawn') = (withdrawn_by is not null and withdrawn_at is not null))`.execute(
    db,
  );
  await sql`
    create or replace function refuse_signed_review_change() returns trigger language plpgsql
    set search_path = pg_catalog, public, pg_temp as $$
    declare
      over boolean;
    begin
      if tg_table_name = 'access_reviews' then
        over := old.state <> 'open';
      elsif tg_op = 'INSERT' then
        over := exists (select from access_reviews where id = new.review_id and state <> 'open');
      else
        over := exists (select from access_reviews where id = old.review_id and state <> 'open');
      end if;
      if over then
        raise exception 'an access review that is over is never changed or removed' using errcode = 'HF001';
      end if;
      if tg_op = 'DELETE' then
        return old;
      end if;
      return new;
    end $$`.execute(db);
}
