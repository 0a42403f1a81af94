import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  listAudit,
  recordAudit,
  systemActor,
  type Actor,
  type AuditRecord,
} from '../../server/audit/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { writeTransaction } from '../../server/lib/db.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const person: Actor = {
  kind: 'user',
  id: randomUUID(),
  sessionId: randomUUID(),
  address: '192.0.2.7',
  requestId: 'r1',
};

function record(actor: Actor, entry: AuditRecord): Promise<void> {
  return writeTransaction(database.db, (tx) => recordAudit(tx, systemClock, actor, entry));
}

async function countEntries(): Promise<number> {
  const { rows } = await withClient(database.adminAddress, 'test', (client) =>
    client.query<{ count: string }>('select count(*) from audit_entries'),
  );
  return Number(rows[0]?.count);
}

describe('a written entry stays as it is', () => {
  const changes = [
    "update audit_entries set action = 'nothing.at.all'",
    'delete from audit_entries',
    'truncate audit_entries',
    'truncate audit_entries cascade',
  ];
  for (const change of changes) {
    test(`"${change}" is refused to the owner of the table and to the application`, async () => {
      await record(person, { action: 'tests.thing.done', objectType: 'thing' });
      const before = await countEntries();

      for (const address of [database.adminAddress, database.address]) {
        await expect(withClient(address, 'test', (client) => client.query(change))).rejects.toThrow(
          /never changed or removed|permission denied/,
        );
      }

      expect(await countEntries()).toBe(before);
    });
  }

  test('the application may not switch the triggers off or drop the table', async () => {
    for (const change of [
      'alter table audit_entries disable trigger all',
      'drop table audit_entries',
      "set session_replication_role = 'replica'",
    ]) {
      await expect(withClient(database.address, 'test', (client) => client.query(change))).rejects.toThrow(
        /must be owner|permission denied/,
      );
    }
  });
});

describe('no entry, no act', () => {
  test('an act whose entry is refused does not happen', async () => {
    const before = await countEntries();
    const bucket = randomUUID();

    const act = writeTransaction(database.db, async (tx) => {
      await tx
        .insertInto('sign_in_failures')
        .values({ bucket, failures: 1, first_at: systemClock.now(), last_at: systemClock.now() })
        .execute();
      await recordAudit(tx, systemClock, person, { action: 'not an action name', objectType: 'thing' });
    });

    await expect(act).rejects.toMatchObject({ code: 'internal' });
    const row = await database.db
      .selectFrom('sign_in_failures')
      .where('bucket', '=', bucket)
      .selectAll()
      .executeTakeFirst();
    expect(row).toBeUndefined();
    expect(await countEntries()).toBe(before);
  });

  test('an entry outside a transaction is refused', async () => {
    const before = await countEntries();

    const outside = recordAudit(database.db as never, systemClock, person, {
      action: 'tests.thing.done',
      objectType: 'thing',
    });

    await expect(outside).rejects.toMatchObject({ code: 'internal' });
    expect(await countEntries()).toBe(before);
  });

  test('an entry with more than 8 KiB of detail is refused', async () => {
    const entry = { action: 'tests.thing.done', objectType: 'thing', detail: { text: 'x'.repeat(9000) } };

    await expect(record(person, entry)).rejects.toMatchObject({ code: 'internal' });
  });

  test('the entry of an act that fails afterwards is gone with it', async () => {
    const before = await countEntries();

    const act = writeTransaction(database.db, async (tx) => {
      await recordAudit(tx, systemClock, person, { action: 'tests.thing.done', objectType: 'thing' });
      throw new Error('the act fails');
    });

    await expect(act).rejects.toThrow('the act fails');
    expect(await countEntries()).toBe(before);
  });
});

describe('reading', () => {
  test('pages go from the newest to the oldest without a gap or a double', async () => {
    const objectId = randomUUID();
    for (let number = 0; number < 7; number += 1) {
      await record(systemActor('tests'), {
        action: 'tests.page.written',
        objectType: 'page',
        objectId,
        detail: { number },
      });
    }

    const seen: unknown[] = [];
    let cursor: string | null | undefined;
    do {
      const page = await listAudit(
        { db: database.db },
        { objectId, limit: 3, ...(cursor ? { cursor } : {}) },
      );
      seen.push(...page.items.map((item) => item.detail.number));
      cursor = page.nextCursor;
    } while (cursor !== null);

    expect(seen).toEqual([6, 5, 4, 3, 2, 1, 0]);
  });

  test('who, from where and in which request is kept; an address that is none is left out', async () => {
    const objectId = randomUUID();
    await record(person, { action: 'tests.thing.done', objectType: 'thing', objectId });
    await record(
      { ...person, address: 'fe80::1%eth0"' },
      { action: 'tests.thing.undone', objectType: 'thing', objectId },
    );

    const { items } = await listAudit({ db: database.db }, { objectId });

    expect(items[1]).toMatchObject({
      actorKind: 'user',
      actorId: person.id,
      address: '192.0.2.7',
      requestId: 'r1',
      result: 'done',
    });
    expect(items[0]?.address).toBeNull();
  });

  test('an action that ends in a dot stands for all below it', async () => {
    const objectId = randomUUID();
    await record(person, { action: 'tests.thing.done', objectType: 'thing', objectId });
    await record(person, { action: 'other.thing.done', objectType: 'thing', objectId });

    const { items } = await listAudit({ db: database.db }, { objectId, action: 'tests.' });

    expect(items.map((item) => item.action)).toEqual(['tests.thing.done']);
  });

  test('a made-up cursor is refused', async () => {
    await expect(listAudit({ db: database.db }, { cursor: 'zzz' })).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });
});
