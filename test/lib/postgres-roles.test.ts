import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});

afterAll(async () => {
  await database.drop();
});

const DENIED = { code: '42501' };

describe('the role of the server', () => {
  for (const statement of [
    'update audit_entries set action = action',
    'delete from audit_entries',
    'truncate audit_entries',
    'truncate runs',
    'create table mine (n int)',
    'alter table runs add column n int',
    'drop table runs cascade',
    'delete from migrations',
    'alter table audit_entries disable trigger all',
    "copy (select 1) to program 'true'",
    "select pg_read_binary_file('PG_VERSION')",
  ]) {
    test(`may not: ${statement}`, async () => {
      await expect(sql.raw(statement).execute(database.db)).rejects.toMatchObject(DENIED);
    });
  }

  test('reads and writes rows', async () => {
    await sql`insert into schedules (name, kind, cron) values ('a', 'snapshot', '0 3 * * *')`.execute(
      database.db,
    );
    await sql`update schedules set enabled = false`.execute(database.db);

    const { rows } = await sql`select name, enabled from schedules`.execute(database.db);

    expect(rows).toEqual([{ name: 'a', enabled: false }]);
  });
});
