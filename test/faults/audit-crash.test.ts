import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { entryLine } from '../../server/audit/entry-leaf.ts';
import { sequenceEntries } from '../../server/audit/index.ts';
import { readRoot, treeSize } from '../../server/audit/tree/stored-tree.ts';
import { childEnvironment } from '../../server/lib/config.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import { writeEntries } from '../audit/log-place.ts';
import { slowRoot } from '../lib/slow-tree.ts';
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

/** @returns the signal that ended it. */
async function sequenceUntil(step: string): Promise<string | null> {
  const child = startProcess(
    process.execPath,
    [
      '--import',
      join(import.meta.dirname, '../helpers/crash-at.ts'),
      join(import.meta.dirname, 'audit-child.ts'),
    ],
    {
      env: childEnvironment({
        HOLDFAST_TEST_ORDER: JSON.stringify(database.address),
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

    expect(await sequenceUntil(step)).toBe('SIGKILL');

    expect(await treeSize(database.db)).toBe(placed);
    expect(await sequenceEntries(database.db)).toBe(1200 - placed);
    const rows = await database.db
      .selectFrom('audit_leaves')
      .innerJoin('audit_entries', 'audit_entries.number', 'audit_leaves.entry_number')
      .selectAll('audit_entries')
      .orderBy('audit_leaves.position')
      .execute();
    expect(rows.map((row) => row.number)).toEqual(Array.from({ length: 1200 }, (_, at) => String(at + 1)));
    expect(await readRoot(database.db, 1200)).toEqual(
      slowRoot(rows.map((row) => Buffer.from(entryLine(row)))),
    );
    expect(await database.db.selectFrom('audit_pending').selectAll().execute()).toEqual([]);
  });
}
