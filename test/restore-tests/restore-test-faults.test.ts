import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { openDatabase } from '../../server/lib/db.ts';
import { compareTables } from '../../server/restore-tests/checks/database-checks.ts';
import { createSample } from '../../server/restore-tests/checks/file-checks.ts';
import { isOverdue } from '../../server/restore-tests/index.ts';
import type { RestoreTest } from '../../server/restore-tests/schema.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';
import { lendFromKit } from './open-kit.ts';

let appliance: StockedAppliance;
let snapshotId: string;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  snapshotId = await appliance.takeSnapshot();
}, 180_000);

afterAll(async () => {
  await (appliance as StockedAppliance | undefined)?.close();
});

afterEach(() => {
  expect(readdirSync(dataPaths(appliance.dataDir).scratch)).toEqual([]);
});

/** Runs a quick test to its end. */
async function runTest(change: Record<string, unknown> = {}): Promise<RestoreTest> {
  const body = {
    snapshotId,
    targetId: appliance.targetId,
    mode: 'quick',
    keySource: 'test-identity',
    ...change,
  };
  const begun = await expectStatus(appliance.owner.call<RestoreTest>('POST', '/restore-tests', body), 202);
  await appliance.performRun();
  return expectStatus(appliance.owner.call<RestoreTest>('GET', `/restore-tests/${begun.id}`), 200);
}

const failedIds = (ended: RestoreTest) =>
  ended.checks.filter((check) => check.state === 'failed').map((check) => check.id);

async function asAdmin(statement: string): Promise<void> {
  const db = openDatabase(appliance.database.adminAddress, { name: 'test', max: 1 });
  await sql.raw(statement).execute(db);
  await db.destroy();
}

const storedFiles = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

/** The largest pack: the database's pages are in it. */
function largestPack(): string {
  const packs = storedFiles(join(appliance.targetPath, 'packs'));
  return packs.sort((a, b) => statSync(b).size - statSync(a).size)[0] ?? '';
}

describe('a test fails, and says what it found, when', () => {
  test('one bit of the database flipped on the target', async () => {
    const pack = largestPack();
    const whole = readFileSync(pack);
    const flipped = Buffer.from(whole);
    const at = whole.length >> 3; // the database is copied before the files
    flipped.writeUInt8((flipped[at] ?? 0) ^ 1, at);
    writeFileSync(pack, flipped);

    const ended = await runTest();
    writeFileSync(pack, whole);

    expect(ended).toMatchObject({ state: 'failed', grade: null });
    expect(failedIds(ended)).toContain('database-restore');
    expect(ended.checks.find((check) => check.id === 'database-recovery')?.state).toBe('skipped');
  }, 120_000);

  test('a pack is cut short', async () => {
    const pack = largestPack();
    const whole = readFileSync(pack);
    truncateSync(pack, whole.length - 100);

    const ended = await runTest();
    writeFileSync(pack, whole);

    expect(ended.state).toBe('failed');
    expect(ended.reportSha256).toMatch(/^[0-9a-f]{64}$/);
  }, 120_000);

  test('the keyring is gone from the target, although the appliance still has its own', async () => {
    const lent = await lendFromKit(appliance);
    const objects = storedFiles(join(appliance.targetPath, 'keyring')).map(
      (path) => [path, readFileSync(path)] as const,
    );
    for (const [path] of objects) rmSync(path);

    const ended = await runTest({ keySource: 'recovery-kit', lent });
    for (const [path, bytes] of objects) writeFileSync(path, bytes);

    expect(ended.state).toBe('failed');
    expect(failedIds(ended)).toContain('keyring');
    expect(ended.checks.find((check) => check.id === 'decrypt-files')?.state).toBe('skipped');
  }, 120_000);

  test('the newest snapshot is older than the last one that was due', async () => {
    const due = new Date(appliance.clock.now().getTime() + 60_000);
    await asAdmin(`insert into schedules (name, kind, cron, enabled, last_due_at)
      values ('snapshot', 'snapshot', '0 2 * * *', true, '${due.toISOString()}')
      on conflict (name) do update set enabled = true, last_due_at = excluded.last_due_at`);
    appliance.clock.offsetMs = 3 * 3_600_000;
    appliance.owner = await appliance.signIn('ada@example.org', 'copper kettle sings 7');

    const ended = await runTest();
    appliance.clock.offsetMs = 0;
    await asAdmin(`update schedules set enabled = false, last_due_at = null where name = 'snapshot'`);

    expect(failedIds(ended)).toEqual(['freshness']);
    expect(ended).toMatchObject({ state: 'failed', grade: null });
  }, 120_000);

  test('a file was missing, another damaged, and a trigger of the audit log off when the snapshot was taken', async () => {
    appliance.owner = await appliance.signIn('ada@example.org', 'copper kettle sings 7');
    const contents = storedFiles(dataPaths(appliance.dataDir).files);
    const [first = '', second = ''] = contents.sort((a, b) => statSync(b).size - statSync(a).size);
    const damaged = readFileSync(first);
    damaged.writeUInt8((damaged[100] ?? 0) ^ 1, 100);
    writeFileSync(first, damaged);
    rmSync(second);
    await asAdmin('alter table audit_entries disable trigger audit_entries_no_change');
    const latest = await appliance.takeSnapshot();
    await asAdmin('alter table audit_entries enable trigger audit_entries_no_change');

    const ended = await runTest({ snapshotId: latest });

    expect(ended.state).toBe('failed');
    expect(failedIds(ended)).toEqual(['files', 'decrypt-files', 'audit']);
    const files = ended.checks.find((check) => check.id === 'files');
    expect(files?.found).toContain('is missing');
    expect(files?.found).toContain('another hash');
  }, 180_000);
});

describe('comparing tables', () => {
  const rows = (table: string, count: string, digest?: string) =>
    digest === undefined ? { table, rows: count } : { table, rows: count, digest };

  test('finds a missing table, an additional one, other counts and other content', () => {
    const expected = [rows('a', '1', 'x'), rows('b', '2', 'x'), rows('c', '3', 'x'), rows('d', '4', 'x')];
    const found = [rows('a', '1', 'x'), rows('b', '9', 'x'), rows('c', '3', 'y'), rows('e', '0', 'x')];

    expect(compareTables(expected, found, true)).toEqual([
      'b: 2 rows expected, 9 found',
      'c: equal count, other content',
      'd is missing',
      "e is not in the snapshot's list",
    ]);
    expect(compareTables(expected, expected, true)).toEqual([]);
  });

  test('looks at digests only when both have them', () => {
    expect(compareTables([rows('a', '1', 'x')], [rows('a', '1')], false)).toEqual([]);
  });
});

describe('overdue', () => {
  const day = 24 * 3_600_000;
  const at = (days: number) => new Date(Date.UTC(2026, 0, 1) + days * day);

  test.each([
    { why: 'never due', due: null, next: null, passed: undefined, overdue: false },
    { why: 'due an hour ago, not run yet', due: at(9.96), next: at(17), passed: undefined, overdue: false },
    { why: 'due two days ago and never passed', due: at(8), next: at(15), passed: undefined, overdue: true },
    { why: 'passed before it was due', due: at(8), next: at(15), passed: at(7), overdue: true },
    { why: 'passed since', due: at(8), next: at(15), passed: at(8.1), overdue: false },
    { why: 'its time went by and nobody queued it', due: null, next: at(8), passed: at(1), overdue: true },
  ])('$why: $overdue', ({ due, next, passed, overdue }) => {
    expect(isOverdue({ lastDueAt: due, nextDueAt: next }, passed, at(10))).toBe(overdue);
  });
});

test('a sample holds everything when there is room, and never more than asked', () => {
  const small = createSample<number>(10);
  const large = createSample<number>(10);
  for (let item = 0; item < 5; item += 1) small.add(item);
  for (const byte of randomBytes(1000)) large.add(byte);

  expect(small.taken).toEqual([0, 1, 2, 3, 4]);
  expect(large.taken.length).toBe(10);
});
