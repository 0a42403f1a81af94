/** Snapshots of other versions: said before anything is fetched, and tried by a restore test. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openFoundRepository, recoverAppliance } from '../../server/backups/index.ts';
import { tellFit } from '../../server/backups/schema-fit.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { openDatabase } from '../../server/lib/db.ts';
import { leastOf } from '../../server/lib/postgres/table-facts.ts';
import type { RestoreTest } from '../../server/restore-tests/schema.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

const KNOWN = ['0001-a', '0002-b', '0003-c'];

describe('what a snapshot says of its schema', () => {
  test.each([
    ['0003-c', '0003-c', true, 0],
    ['0001-a', '0001-a', true, 2],
    ['0004-d', '0003-c', true, 0],
    ['0004-d', '0004-d', false, 0],
    ['0004-d', undefined, true, 0],
    [undefined, undefined, true, 0],
  ])('newest %s, needs %s', (schemaVersion, schemaNeeds, starts, behind) => {
    const facts = {
      major: 17,
      ...(schemaVersion === undefined ? {} : { schemaVersion }),
      ...(schemaNeeds === undefined ? {} : { schemaNeeds }),
    };

    expect(tellFit(facts, KNOWN)).toMatchObject({ starts, behind });
  });

  test('another PostgreSQL does not start', () => {
    expect(tellFit({ major: 18, schemaVersion: '0001-a' }, KNOWN).starts).toBe(false);
  });

  test('the oldest program that can go on is told by what each migration works with', () => {
    const of = (...needs: string[]) =>
      leastOf(needs.map((one, index) => ({ name: `000${index + 1}`, needs: one })));

    expect(of('0001', '0002', '0003')).toBe('0003');
    expect(of('0001', '0001', '0001')).toBe('0001');
    // The second is needed as it is, whatever the third works with.
    expect(of('0001', '0002', '0001')).toBe('0002');
    expect(of('0001', '0001', '0003')).toBe('0003');
  });
});

describe('a snapshot', () => {
  let appliance: StockedAppliance;
  let older: string;
  let newer: string;
  let place: string;

  const asAdmin = async (...statements: string[]): Promise<void> => {
    const db = openDatabase(appliance.database.adminAddress, { name: 'test', max: 1 });
    for (const statement of statements) await sql.raw(statement).execute(db);
    await db.destroy();
  };
  const kitOf = () => {
    const { id: kitId, identity: ageIdentity, repositoryId, trustRoot } = appliance.kit;
    return { kitId, repositoryId, trustRoot, ageIdentity };
  };

  beforeAll(async () => {
    place = await mkdtemp(join(tmpdir(), 'holdfast-fit-'));
    appliance = await startStockedAppliance();
    await stock(appliance);
    // As a version from before this migration left it.
    await asAdmin('drop table target_damage', "delete from migrations where name = '0050-remember-damage'");
    older = await appliance.takeSnapshot();
    await asAdmin("insert into migrations (name) values ('9999-of-a-later-version')");
    newer = await appliance.takeSnapshot();
  }, 180_000);
  afterAll(async () => {
    await (appliance as StockedAppliance | undefined)?.close();
    await rm(place, { recursive: true, force: true });
  });

  const testOf = async (snapshotId: string): Promise<RestoreTest> => {
    const body = { snapshotId, targetId: appliance.targetId, mode: 'quick', keySource: 'test-identity' };
    const begun = await expectStatus(appliance.owner.call<RestoreTest>('POST', '/restore-tests', body), 202);
    await appliance.performRun();
    return expectStatus(appliance.owner.call<RestoreTest>('GET', `/restore-tests/${begun.id}`), 200);
  };
  const schemaOf = ({ checks }: RestoreTest) => checks.find(({ id }) => id === 'schema');

  test(
    'of an older version passes its test, which runs the migrations that it lacks',
    { timeout: 120_000 },
    async () => {
      expect(schemaOf(await testOf(older))).toMatchObject({
        state: 'passed',
        found: expect.stringContaining('1 migration ran, 0050-remember-damage') as string,
      });
    },
  );

  test(
    'of a newer version that this one cannot go on with fails its test',
    { timeout: 120_000 },
    async () => {
      expect(schemaOf(await testOf(newer))).toMatchObject({
        state: 'failed',
        found: 'A newer version wrote it, and this one cannot go on with it',
      });
    },
  );

  test('of a newer version is refused before a byte of it is fetched', async () => {
    const dataDir = join(place, 'new');

    const tried = recoverAppliance({
      target: { kind: 'directory', path: appliance.targetPath },
      ...{ kit: kitOf(), dataDir, clock: systemClock, signal: new AbortController().signal },
      confirm: async () => true,
    });

    await expect(tried).rejects.toMatchObject({
      code: 'wrong_state',
      message: expect.stringContaining('cannot be restored here') as string,
    });
    expect((await readdir(dataDir)).filter((name) => !name.startsWith('lock'))).toEqual([]);
  });

  test('says in a look with the kit whether it starts', async () => {
    const { snapshots } = await openFoundRepository(
      { kind: 'directory', path: appliance.targetPath },
      kitOf(),
      join(place, 'catalogue.sqlite'),
    );

    expect(snapshots.map(({ id, starts }) => ({ id, starts }))).toEqual([
      { id: newer, starts: false },
      { id: older, starts: true },
    ]);
  });
});
