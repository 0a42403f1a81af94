import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { leafLine, stubOfRow } from '../../server/audit/entry-leaf.ts';
import { createLogVerifier, expireDueEntries, exportLog, sequenceEntries } from '../../server/audit/index.ts';
import { readRoot, treeSize } from '../../server/audit/tree/stored-tree.ts';
import { openTarget, readKeptHeads } from '../../server/backups/index.ts';
import { trustInRoot } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { childEnvironment } from '../../server/lib/config.ts';
import { readUnsignedHead } from '../../server/lib/merkle/checkpoint.ts';
import type { Database } from '../../server/lib/db.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import type { AuditOrder } from './audit-child.ts';
import { writeEntries } from '../audit/log-place.ts';
import { slowRoot } from '../lib/slow-tree.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { startStockedAppliance, type StockedAppliance } from '../helpers/stocked-appliance.ts';
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

/** @returns the signal that ended it. */
async function runUntil(step: string, order: AuditOrder): Promise<string | null> {
  const child = startProcess(
    process.execPath,
    [
      '--import',
      join(import.meta.dirname, '../helpers/crash-at.ts'),
      join(import.meta.dirname, 'audit-child.ts'),
    ],
    {
      env: childEnvironment({
        HOLDFAST_TEST_ORDER: JSON.stringify(order),
        HOLDFAST_TEST_CRASH_AT: step,
      }),
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  return (await endOf(child)).signal;
}

/** 1,200 entries are three batches; what a kill in the second one leaves must be the first. */
const STEPS: [string, number][] = [
  ['audit.batch.hashed:1', 0],
  ['audit.batch.written:1', 0],
  ['audit.batch.committed:1', 500],
  ['audit.batch.hashed:2', 500],
  ['audit.batch.written:2', 500],
  ['audit.batch.committed:3', 1200],
];

for (const [step, placed] of STEPS) {
  test(`killed at ${step}: ${placed} entries have their places, the next look gives the others theirs`, async () => {
    await writeEntries(database.db, 1200);

    expect(await runUntil(step, { address: database.address })).toBe('SIGKILL');

    expect(await treeSize(database.db)).toBe(placed);
    // The lock of the dead one goes when PostgreSQL notices that it is dead.
    await waitFor('the others to be placed', async () => {
      await sequenceEntries(database.db);
      return (await treeSize(database.db)) === 1200;
    });
    const rows = await database.db
      .selectFrom('audit_leaves')
      .innerJoin('audit_entries', 'audit_entries.number', 'audit_leaves.entry_number')
      .selectAll('audit_entries')
      .orderBy('audit_leaves.position')
      .execute();
    expect(rows.map((row) => row.number)).toEqual(Array.from({ length: 1200 }, (_, at) => String(at + 1)));
    expect(await readRoot(database.db, 1200)).toEqual(
      slowRoot(rows.map((row) => Buffer.from(leafLine(stubOfRow(row))))),
    );
    expect(await database.db.selectFrom('audit_pending').selectAll().execute()).toEqual([]);
  });
}

/** 1,200 acts of 2015 go in two batches. */
const EXPIRY_STEPS: [string, number][] = [
  ['audit.expiry.recorded:1', 0],
  ['audit.expiry.committed:1', 1000],
  ['audit.expiry.recorded:2', 1000],
];

for (const [step, gone] of EXPIRY_STEPS) {
  test(`killed at ${step}: ${gone} entries have expired and the log says so, the next look takes the others`, async () => {
    const { db, address } = database;
    await sql`insert into audit_entries (id, at, actor_kind, actor_label, action, object_type, result, salt)
      select gen_random_uuid(), '2015-01-01', 'system', 'tests', 'tests.thing.done', 'thing', 'done', decode(md5(g::text), 'hex')
      from generate_series(1, 1200) g`.execute(db);
    await sequenceEntries(db);
    const root = await readRoot(db, 1200);

    expect(await runUntil(step, { address, expire: true })).toBe('SIGKILL');

    expect(await countExpired(db)).toEqual({ stubs: gone, said: gone, left: 1200 - gone });
    await expireDueEntries({ db, clock: systemClock });
    expect(await countExpired(db)).toEqual({ stubs: 1200, said: 1200, left: 0 });
    expect(await readRoot(db, 1200)).toEqual(root);
  });
}

async function countExpired(db: Database): Promise<unknown> {
  const { rows } = await sql`
    select (select count(*)::int from audit_stubs) as stubs,
      (select coalesce(sum((detail ->> 'count')::int), 0)::int from audit_entries where action = 'audit.entries.expired') as said,
      (select count(*)::int from audit_entries where action = 'tests.thing.done') as left`.execute(db);
  return rows[0];
}

describe('on an appliance with a target', () => {
  let appliance: StockedAppliance;
  beforeAll(async () => {
    appliance = await startStockedAppliance();
    await appliance.takeSnapshot();
  });
  afterAll(() => appliance.close());

  for (const step of [
    'audit.checkpoint.signed',
    'audit.checkpoint.recorded',
    'target.object.written',
    'target.object.linked',
    'backups.anchor.written',
    'backups.anchor.verified',
  ]) {
    test(`killed at ${step}: the next hour signs and anchors a tree that continues what was signed`, async () => {
      const { deps, database: own, dataDir, targetId, targetPath, kit } = appliance;
      const order = { address: own.address, dataDir, targetId };
      await writeEntries(deps.db, 3);

      expect(await runUntil(`${step}:1`, order)).toBe('SIGKILL');
      expect(await runUntil('none', order)).toBeNull();

      const target = await openTarget({ kind: 'directory', path: targetPath });
      const { heads, unreadable } = await readKeptHeads(target, 'copy');
      await target.close();
      const trust = trustInRoot(Buffer.from(kit.trustRoot, 'base64'), kit.repositoryId);
      const verifier = createLogVerifier({ trust, kept: heads });
      for await (const line of exportLog(deps)) verifier.line(Buffer.from(line));
      const report = verifier.end();
      expect(unreadable).toEqual([]);
      expect(report).toMatchObject({ ok: true, kept: { given: heads.length, believed: heads.length } });
      expect(report.newest?.size).toBe(await treeSize(deps.db));
      expect(Math.max(...heads.map(({ note }) => readUnsignedHead(note).size))).toBe(report.newest?.size);
    });
  }
});
