/**
 * Snapshots that are sealed and signed with the appliance's own keys, whole in every byte, and wrong all the same: what the
 * database holds is not what the snapshot says of it.
 */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SourceSection } from '../../server/backups/engine.ts';
import { getTarget } from '../../server/backups/index.ts';
import type { PostgresFacts } from '../../server/backups/database/postgres-source.ts';
import { recordSnapshots } from '../../server/backups/record-snapshots.ts';
import { withTargetRepository } from '../../server/backups/target-repository.ts';
import { connectKeyd, credentialPath } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { openDatabase, writeTransaction } from '../../server/lib/db.ts';
import type { RunContext } from '../../server/lib/runs.ts';
import type { RestoreTest } from '../../server/restore-tests/schema.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

let appliance: StockedAppliance;
let before: string;
let after: string;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  before = await appliance.takeSnapshot();
  const db = openDatabase(appliance.database.adminAddress, { name: 'test', max: 1 });
  await sql`update targets set name = 'another'`.execute(db);
  await db.destroy();
  after = await appliance.takeSnapshot();
}, 180_000);

afterAll(async () => {
  await (appliance as StockedAppliance | undefined)?.close();
});

type Facts = PostgresFacts['tables'];

/** The older snapshot once more, signed anew, with other facts about its tables. @returns its id */
async function signWithFacts(change: (own: Facts, later: Facts) => Facts): Promise<string> {
  const { deps, dataDir, clock } = appliance;
  const runId = randomUUID();
  await deps.keys.lend(runId, null, { testIdentity: true, liveKeys: true });
  const { run, keydSocket } = dataPaths(dataDir);
  const credentialFile = credentialPath(run, 'run');
  const keys = await connectKeyd({ socketPath: keydSocket, credentialFile, role: 'run', clock: systemClock });
  const target = await getTarget(deps.db, appliance.targetId);
  const context = { runId, input: {}, log: async () => undefined } as unknown as RunContext;
  try {
    return await withTargetRepository(
      { db: deps.db, clock, dataDir, keys, sealer: deps.sealer },
      target,
      context,
      async (open) => {
        const [own, later] = await Promise.all([before, after].map((id) => open.repository.findSnapshot(id)));
        if (own === undefined || later === undefined) throw new Error('the snapshots are gone');
        const { takenAt, durationMs, generation, keyringEpoch, addedBytes, storedBytes, facts } = own;
        const draft = { takenAt, durationMs, generation, keyringEpoch, addedBytes, storedBytes, facts };
        const sections = own.sections.map((section) =>
          section.name === 'database'
            ? {
                ...section,
                facts: { ...section.facts, tables: change(tablesOf(own.sections), tablesOf(later.sections)) },
              }
            : section,
        );
        const record = await open.writer.publishSnapshot({ ...draft, sections });
        await open.writer.publishHead();
        await writeTransaction(deps.db, (tx) =>
          recordSnapshots(tx, clock, {
            repositoryId: open.repository.id,
            targetId: target.id,
            records: [record],
          }),
        );
        return record.id;
      },
    );
  } finally {
    await keys.close();
  }
}

function tablesOf(sections: readonly SourceSection[]): Facts {
  const facts = sections.find((section) => section.name === 'database')?.facts as Partial<PostgresFacts>;
  return facts.tables ?? [];
}

async function runTest(snapshotId: string, mode: 'quick' | 'full'): Promise<RestoreTest> {
  const request = { snapshotId, targetId: appliance.targetId, mode, keySource: 'test-identity' };
  const begun = await expectStatus(appliance.owner.call<RestoreTest>('POST', '/restore-tests', request), 202);
  await appliance.performRun();
  return expectStatus(appliance.owner.call<RestoreTest>('GET', `/restore-tests/${begun.id}`), 200);
}

const failed = (ended: RestoreTest) =>
  ended.checks.filter((check) => check.state !== 'passed').map(({ id, found }) => ({ id, found }));

describe('a restore test of a validly signed snapshot', () => {
  test('in which one row of a table is another than the snapshot says fails, and names the table', async () => {
    const id = await signWithFacts((own, later) =>
      own.map((table) =>
        table.table === 'public.targets' ? (later.find((one) => one.table === table.table) ?? table) : table,
      ),
    );

    const ended = await runTest(id, 'full');

    expect(ended).toMatchObject({ state: 'failed', grade: null });
    expect(failed(ended)).toEqual([
      {
        id: 'database-rows',
        found: expect.stringContaining('public.targets: equal count, other content') as string,
      },
    ]);
  }, 180_000);

  test('in which a table has a row less than the snapshot says fails in a quick test too', async () => {
    const id = await signWithFacts((own) =>
      own.map((table) =>
        table.table === 'public.file_versions' ? { ...table, rows: String(BigInt(table.rows) + 1n) } : table,
      ),
    );

    const ended = await runTest(id, 'quick');

    expect(ended).toMatchObject({ state: 'failed', grade: null });
    expect(failed(ended)).toEqual([
      {
        id: 'database-rows',
        found: expect.stringContaining('public.file_versions: 4 rows expected, 3 found') as string,
      },
    ]);
  }, 180_000);

  test('that says what it holds passes, signed anew or not', async () => {
    const id = await signWithFacts((own) => own);

    expect(await runTest(id, 'full')).toMatchObject({ state: 'passed', grade: 'data-proven' });
  }, 180_000);
});
