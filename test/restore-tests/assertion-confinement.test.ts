/** What a statement of an administrator can get out of a restored database: counts and numbers of what it may ask, and nothing by any trick. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DatabaseAddress } from '../../server/lib/db.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import { askQuestion } from '../../server/restore-tests/assertions/ask.ts';
import { ASKABLE_TABLES } from '../../server/restore-tests/assertions/askable.ts';
import { makeConfinedRole } from '../../server/restore-tests/assertions/confine-queries.ts';
import type { Expected } from '../../server/restore-tests/assertions/schema.ts';
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts';

const SECRET = 'dromedary-7731';
const role = `assertion_${randomBytes(6).toString('hex')}`;
const person = '11111111-1111-4111-8111-111111111111';
let database: TestDatabase;
let address: DatabaseAddress;

beforeAll(async () => {
  database = await createTestDatabase();
  const { adminAddress, name } = database;
  await withClient(adminAddress, 'test', async (client) => {
    await client.query('create extension if not exists amcheck');
    await client.query(
      `create function public.tell() returns text language sql security definer as $$ select '${SECRET}' $$`,
    );
    await client.query(`create view public.told as select password_hash from public.users`);
    await client.query(
      `insert into users (id, role, subject_key_id, name_sealed, email_sealed, password_hash, created_at)
       values ('${person}', 'owner', '${person}', '${SECRET}', '${SECRET}', '${SECRET}', now())`,
    );
    await client.query(`select lo_from_bytea(4711, '${SECRET}')`);
    await makeConfinedRole(client, { role, database: name, seconds: 2 });
  });
  if (adminAddress.kind !== 'socket') throw new Error('the test server is reached by its socket');
  address = { ...adminAddress, user: role };
});

afterAll(async () => {
  await withClient(database.adminAddress, 'test', async (client) => {
    await client.query(`drop owned by ${role}`);
    await client.query(`drop role ${role}`);
  });
  await database.drop();
});

const ROWS: Expected = { of: 'rows', is: 'at-least', value: 0 };
const TRUE: Expected = { of: 'true' };
const number = (value: number): Expected => ({ of: 'number', is: 'equal', value });

const ask = (sql: string, expected: Expected = ROWS, signal = new AbortController().signal) =>
  askQuestion({ sql, expected }, { address, seconds: 2, signal });

describe('a statement may ask', () => {
  test.each<[string, Expected]>([
    ['select count(*) from users', number(1)],
    ["select id from users where role = 'owner' and created_at > now() - interval '1 day';", ROWS],
    ["select count(*) filter (where kind like 'f%') = 0 from nodes", TRUE],
    ['select sum(size_bytes) is null from file_versions', TRUE],
    [
      `with days as (select date_trunc('day', taken_at) as day, count(*) as many from snapshots group by 1)
       select coalesce(max(many), 0) from days`,
      number(0),
    ],
    ['select percentile_cont(0.5) within group (order by n) from generate_series(1, 5) as g (n)', number(3)],
    ['select avg(n) from (values (1.5), (2.5)) as v (n)', number(2)],
    ['select count(*) from users u left join workspace_members m on m.user_id = u.id -- people', number(1)],
    ['select bool_and(number > 0) is not false from audit_entries', TRUE],
    ['select extract(year from now()) > 2000', TRUE],
  ])('%s', async (sql, expected) => {
    expect(await ask(sql, expected)).toMatchObject({ passed: true });
  });

  test('every column of the list', async () => {
    for (const [table, columns] of Object.entries(ASKABLE_TABLES))
      expect(await ask(`select ${columns.join(', ')} from ${table}`), table).toMatchObject({ passed: true });
  });
});

test('the list names no column that is sealed, hashed, encrypted or typed by a person', async () => {
  const rows = await withClient(database.adminAddress, 'test', (client) =>
    client.query<{ table: string; column: string; type: string }>(
      `select table_name as "table", column_name as "column", data_type as type from information_schema.columns
       where table_schema = 'public'`,
    ),
  );
  const asked = rows.rows.filter(({ table, column }) => ASKABLE_TABLES[table]?.includes(column));

  expect(asked).toHaveLength(Object.values(ASKABLE_TABLES).flat().length);
  expect(asked.filter(({ type }) => !/^(uuid|text|boolean|integer|bigint|timestamp)/.test(type))).toEqual([]);
  const told =
    /sealed|hash|secret|token|wrapped|_key$|address|agent|label|detail|message|note|reason|content|media|by$|input|result$/;
  expect(asked.map(({ table, column }) => `${table}.${column}`).filter((name) => told.test(name))).toEqual([
    'audit_entries.result',
  ]);
});

describe('a statement cannot', () => {
  const REFUSED = /^(refused|not understood)/;
  test.each<[string, string]>([
    ['read a password hash', 'select password_hash from users'],
    ['compare one', `select id from users where password_hash like 'd%'`],
    ['sort by one', 'select id from users order by password_hash'],
    ['read a sealed name', 'select name_sealed from users'],
    ['read a whole row', 'select u from users u'],
    ['read a row as JSON', 'select to_jsonb(u) from users u'],
    ['read every column', 'select * from users'],
    ['join by a secret', 'select 1 from users a natural join sessions b'],
    ['read a session', 'select token_hash from sessions'],
    ['count a table that it may not ask', 'select count(*) from sessions'],
    ['read a blind index', 'select email_hash from user_email_index'],
    ['read a file key', 'select wrapped_key from file_versions'],
    ['read what an entry says', 'select detail from audit_entries'],
    ['read a view over a secret', 'select * from told'],
    ['call a function that reads as its owner', 'select tell()'],
    ['read the catalogue of roles', 'select rolname from pg_authid'],
    ['read the roles', 'select rolname from pg_roles'],
    ['read statistics, which quote values', 'select most_common_vals from pg_stats'],
    ['read raw statistics', 'select * from pg_statistic'],
    ['read what others run', 'select query from pg_stat_activity'],
    ['read the settings', 'select * from pg_settings'],
    ['read the schema', 'select * from information_schema.columns'],
    ['read a large object', 'select lo_get(4711)'],
    ['read large objects', 'select data from pg_largeobject'],
    ['make a large object', 'select lo_create(1)'],
    ['read a file', `select pg_read_file('postgresql.conf')`],
    ['list a folder', `select pg_ls_dir('.')`],
    ['run SQL inside XML', `select query_to_xml('select password_hash from users', true, true, '')`],
    ['dump a table as XML', `select table_to_xml('users', true, true, '')`],
    ['run SQL in a cursor of a function', `select * from cursor_to_xml('answer', 1, true, true, '')`],
    ['change a setting', `select set_config('role', 'holdfast', false)`],
    ['read a setting', `select current_setting('data_directory')`],
    ['sleep', 'select pg_sleep(1)'],
    ['take an advisory lock', 'select pg_advisory_lock(1)'],
    ['end another connection', 'select pg_terminate_backend(1)'],
    ['tell others', `select pg_notify('holdfast_run', 'x')`],
    ['log what it found', `select pg_logical_emit_message(false, 'a', 'b')`],
    ['switch the WAL', 'select pg_switch_wal()'],
    ['draw from a sequence', `select nextval('audit_entries_number_seq')`],
    ['read a sequence', 'select last_value from audit_entries_number_seq'],
    ['check pages with amcheck', `select bt_index_check('users_pkey')`],
    ['call a function by casting', `select 'tell'::regproc::text, tell()`],
    ['glue strings until memory ends', `select 'a' || 'b'`],
    ['repeat a string', `select repeat('a', 1000000000)`],
    ['gather rows in one string', `select string_agg(role, ',') from users`],
    ['match a regular expression', `select 'aaaa' ~ '(a+)+$'`],
    ['write', `insert into users (id) values ('${person}') returning id`],
    ['write in a part', `with gone as (delete from users returning id) select * from gone`],
    ['lock rows', 'select id from users for update'],
    ['make a table', 'select 1 as a into stolen'],
    ['write after a semicolon', 'select 1; delete from users'],
    ['end the transaction', 'select 1; commit; drop table users'],
    ['become another', 'set role holdfast'],
    ['become another session', 'set session authorization holdfast'],
    ['reset', 'reset role'],
    ['copy out', 'copy users to stdout'],
    ['copy to a program', `copy (select 1) to program 'id'`],
    ['run code', `do $$ begin raise exception 'x'; end $$`],
    ['explain with values', 'explain analyze select 1'],
    ['listen', 'listen holdfast_run'],
    ['load a library', `load 'dblink'`],
    ['take a parameter', 'select $1::int'],
    ['say nothing', ';'],
    ['hide behind a comment', '/* */'],
  ])('%s', async (_what, sql) => {
    for (const expected of [ROWS, TRUE, number(0)]) {
      const answer = await ask(sql, expected);

      expect(answer.passed).toBe(false);
      expect(answer.found).toMatch(REFUSED);
      expect(answer.found).not.toContain(SECRET);
    }
  });

  test.each<[string, string]>([
    ['text', `select role from users`],
    ['a cast of text to a number', `select role::int from users`],
    ['a division that fails for one row', `select 1 / (case role when 'owner' then 0 else 1 end) from users`],
    ['an interval', `select now() - created_at from users`],
    ['an array', `select array(select created_at from users)`],
    ['a record', `select row(id, role) from users`],
    ['a date that cannot be', `select role::date from users`],
  ])('get a value out as %s', async (_what, sql) => {
    const answers = [await ask(sql, TRUE), await ask(sql, number(1))];

    for (const { passed, found } of answers) {
      expect(passed).toBe(false);
      expect(found).not.toMatch(/owner|1{8}|\d{4}-\d{2}/);
      expect(found).toMatch(/^(a value that is not|it could not be carried out \(class 22\))/);
    }
  });

  test('run longer than its limit', async () => {
    const sql = 'select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b';

    expect(await ask(sql, number(1))).toMatchObject({
      passed: false,
      found: expect.stringContaining('no answer within') as string,
    });
  }, 20_000);

  test('fill the disk', async () => {
    const found = (
      await ask('select n from generate_series(1, 100000000) as g (n) order by n desc', number(1))
    ).found;

    expect(found).toMatch(/temporary files|no answer within/);
  }, 20_000);

  test('take the memory', async () => {
    const sql = `select array(select a.n from generate_series(1, 100000) a (n), generate_series(1, 2000) b (n)) is null`;

    expect((await ask(sql, TRUE)).found).toMatch(/256 MiB|no answer within|class 5/);
  }, 20_000);

  test('keep a row count from ending', async () => {
    const { found } = await ask('select 1 from generate_series(1, 2000) a, generate_series(1, 2000) b', {
      of: 'rows',
      is: 'at-most',
      value: 10,
    });

    expect(found).toBe('more than 1000000 rows');
  }, 20_000);
});

test('who cancels does not wait for the answer', async () => {
  const cancel = new AbortController();
  setTimeout(() => {
    cancel.abort(new Error('cancelled'));
  }, 200);
  const startedAt = performance.now();

  const answer = ask(
    'select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b',
    number(1),
    cancel.signal,
  );

  await expect(answer).rejects.toThrow('cancelled');
  expect(performance.now() - startedAt).toBeLessThan(1_500);
});

test('a mistake is told by its place in the statement and not in our words before it', async () => {
  expect((await ask('select count(*) from userz', number(1))).found).toBe(
    'not understood: there is no such table (42P01, at character 22)',
  );
});
