import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { leafLine, stubOfRow } from '../../server/audit/entry-leaf.ts';
import { recordAudit, sequenceEntries, startSequencer, systemActor } from '../../server/audit/index.ts';
import { EMPTY_ROOT, hashLeaf } from '../../server/lib/merkle/hashing.ts';
import {
  readConsistencyProof,
  readInclusionProof,
  readRoot,
  treeSize,
} from '../../server/audit/tree/stored-tree.ts';
import { verifyConsistency, verifyInclusion } from '../../server/lib/merkle/verify-proof.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { openDatabase, writeTransaction } from '../../server/lib/db.ts';
import { createLog } from '../../server/lib/log.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { writeEntries, writeEntry } from './log-place.ts';
import { slowRoot } from '../lib/slow-tree.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

async function placedRows() {
  return database.db
    .selectFrom('audit_leaves')
    .innerJoin('audit_entries', 'audit_entries.number', 'audit_leaves.entry_number')
    .selectAll('audit_entries')
    .orderBy('audit_leaves.position')
    .execute();
}

/** Leaves in the order of the tree, as they are hashed. */
async function placedLines(): Promise<Buffer[]> {
  return (await placedRows()).map((row) => Buffer.from(leafLine(stubOfRow(row))));
}

async function placedIds(): Promise<string[]> {
  return (await placedRows()).map((row) => row.id);
}

async function countPending(): Promise<number> {
  return (await database.db.selectFrom('audit_pending').selectAll().execute()).length;
}

describe('what is refused', () => {
  for (const table of ['audit_leaves', 'audit_tree_nodes']) {
    for (const change of [
      `update ${table} set position = position`,
      `delete from ${table}`,
      `truncate ${table}`,
    ]) {
      test(`"${change}", to the owner of the table and to the application`, async () => {
        await writeEntries(database.db, 260);
        await sequenceEntries(database.db);
        const before = await readRoot(database.db, 260);

        for (const address of [database.adminAddress, database.address]) {
          await expect(withClient(address, 'test', (client) => client.query(change))).rejects.toThrow(
            /only added to|permission denied/,
          );
        }

        expect(await readRoot(database.db, 260)).toEqual(before);
      });
    }
  }

  test('the application cannot make an entry wait that is not there', async () => {
    await expect(sql`insert into audit_pending values (7)`.execute(database.db)).rejects.toMatchObject({
      code: '42501',
    });
  });

  test('a place is not given twice', async () => {
    await writeEntry(database.db);
    await sequenceEntries(database.db);

    const again = sql`insert into audit_leaves values (0, 99, ${EMPTY_ROOT})`.execute(database.db);

    await expect(again).rejects.toMatchObject({ code: '23505' });
  });
});

describe('the tree', () => {
  test('is that of the entries in their order, over several tiles, with proofs that verify', async () => {
    await writeEntries(database.db, 700);
    await sequenceEntries(database.db);
    await writeEntries(database.db, 333);
    await sequenceEntries(database.db);

    const size = await treeSize(database.db);
    const lines = await placedLines();
    const root = await readRoot(database.db, size);
    expect(size).toBe(1033);
    expect(root).toEqual(slowRoot(lines));
    for (const position of [0, 1, 255, 256, 511, 700, 1024, 1032]) {
      const path = await readInclusionProof(database.db, position, size);
      const leafHash = hashLeaf(lines[position] ?? Buffer.alloc(0));
      expect(verifyInclusion({ leafHash, position, size, path, root })).toBe(true);
    }
    for (const older of [0, 1, 255, 256, 257, 512, 700, 1032, 1033]) {
      const before = { size: older, root: await readRoot(database.db, older) };
      expect(before.root).toEqual(slowRoot(lines.slice(0, older)));
      const proof = await readConsistencyProof(database.db, older, size);
      expect(verifyConsistency(before, { size, root }, proof)).toBe(true);
    }
  });

  test('of no entries has the root of nothing', async () => {
    expect(await sequenceEntries(database.db)).toBe(0);
    expect(await treeSize(database.db)).toBe(0);
    expect(await readRoot(database.db, 0)).toEqual(EMPTY_ROOT);
  });

  test('a stored hash that is gone is said, not guessed', async () => {
    await writeEntries(database.db, 300);
    await sequenceEntries(database.db);
    await withClient(database.adminAddress, 'test', (client) =>
      client.query("set session_replication_role = 'replica'; delete from audit_leaves where position = 280"),
    );

    await expect(readRoot(database.db, 300)).rejects.toMatchObject({ code: 'integrity_failure' });
  });
});

describe('the order', () => {
  test('is that of becoming visible: a long transaction comes after those that committed meanwhile', async () => {
    let early = '';
    await writeTransaction(database.db, async (tx) => {
      const record = { action: 'tests.long.done', objectType: 'thing' };
      await recordAudit(tx, systemClock, systemActor('tests'), record);
      early = (await tx.selectFrom('audit_entries').select('id').executeTakeFirstOrThrow()).id;
      const meanwhile = [await writeEntry(database.db), await writeEntry(database.db)];

      expect(await sequenceEntries(database.db)).toBe(2);
      expect(await placedIds()).toEqual(meanwhile);
    });

    expect(await sequenceEntries(database.db)).toBe(1);
    expect((await placedIds()).at(-1)).toBe(early);
    expect(await countPending()).toBe(0);
  });

  test('entries of acts that were rolled back leave no place and no gap', async () => {
    await writeEntry(database.db);
    await expect(
      writeTransaction(database.db, async (tx) => {
        await recordAudit(tx, systemClock, systemActor('tests'), {
          action: 'tests.thing.done',
          objectType: 'thing',
        });
        throw new Error('the act fails');
      }),
    ).rejects.toThrow('the act fails');
    await writeEntry(database.db);

    await sequenceEntries(database.db);

    const places = await database.db
      .selectFrom('audit_leaves')
      .select(['position', 'entry_number'])
      .execute();
    expect(places).toEqual([
      { position: '0', entry_number: '1' },
      { position: '1', entry_number: '3' },
    ]);
  });

  test('entries from before the tree was there get places too', async () => {
    // As the migration finds them: written, and not waiting.
    await writeEntries(database.db, 3);
    await withClient(database.adminAddress, 'test', (client) =>
      client.query(
        'truncate audit_pending; insert into audit_pending (number) select number from audit_entries',
      ),
    );

    expect(await sequenceEntries(database.db)).toBe(3);
  });
});

describe('several at once', () => {
  test('eight processes that sequence while eight write give each entry exactly one place', async () => {
    const others = Array.from({ length: 8 }, () => openDatabase(database.address, { name: 'test', max: 2 }));
    let writing = true;
    const sequencing = others.map(async (db) => {
      while (writing) await sequenceEntries(db);
    });

    await Promise.all(others.map((db) => writeEntries(db, 200)));
    writing = false;
    await Promise.all(sequencing);
    await sequenceEntries(database.db);

    const lines = await placedLines();
    expect(lines).toHaveLength(1600);
    expect(new Set(await placedIds()).size).toBe(1600);
    expect(await countPending()).toBe(0);
    expect(await readRoot(database.db, 1600)).toEqual(slowRoot(lines));
    await Promise.all(others.map((db) => db.destroy()));
  });

  test('one that is slow holds up no act, and another goes on when it ends', async () => {
    await writeEntry(database.db);
    const held = openDatabase(database.address, { name: 'test', max: 1 });
    await held.transaction().execute(async (tx) => {
      await sql`select pg_advisory_xact_lock(${0x484f4c49})`.execute(tx);

      await writeEntry(database.db);
      expect(await sequenceEntries(database.db)).toBe(0);
    });
    await held.destroy();

    expect(await sequenceEntries(database.db)).toBe(2);
  });
});

describe('a running sequencer', () => {
  test('places an entry within a second of its commit', async () => {
    const sequencer = startSequencer({ db: database.db, log: createLog('silent', 'test') });
    try {
      const waits: number[] = [];
      for (let round = 0; round < 5; round += 1) {
        const id = await writeEntry(database.db);
        const from = performance.now();
        await waitFor('the entry to be placed', async () => (await placedIds()).includes(id), 5_000, 20);
        waits.push(performance.now() - from);
      }
      expect(Math.max(...waits)).toBeLessThan(1_000);
    } finally {
      await sequencer.stop();
    }
  });

  test('survives a database that refuses it for a while', async () => {
    await withClient(database.adminAddress, 'test', (client) =>
      client.query('alter table audit_leaves rename to audit_leaves_away'),
    );
    const sequencer = startSequencer({ db: database.db, log: createLog('silent', 'test') });
    try {
      await writeEntry(database.db);
      await withClient(database.adminAddress, 'test', (client) =>
        client.query('alter table audit_leaves_away rename to audit_leaves'),
      );

      await waitFor('the entry to be placed', async () => (await treeSize(database.db)) === 1, 5_000);
      expect(await countPending()).toBe(0);
    } finally {
      await sequencer.stop();
    }
  });
});
