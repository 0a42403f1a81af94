import { copyFileSync, existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { shipStatePath } from '../../../server/backups/wal/ship-state.ts';
import { systemActor } from '../../../server/audit/index.ts';
import { releaseFromQuarantine } from '../../../server/backups/index.ts';
import { quarantine } from '../../../server/backups/quarantine.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { waitFor } from '../../helpers/wait-for.ts';
import { look, shipUntilKilled, startShipping, switchOn, writeLog } from './shipping.ts';

let appliance: StockedAppliance;
let uploads = 0;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  // By the disk: other tests write to this log too.
  await switchOn(appliance);
  await shipOnce();
}, 120_000);

afterAll(async () => {
  await appliance.close();
});

const upload = () => appliance.upload(`file ${String(++uploads)}`, Buffer.from(`content ${String(uploads)}`));

async function shipOnce(): Promise<void> {
  const shipping = await startShipping(appliance);
  await shipping.caughtUp();
  await shipping.stop();
}

/** Numbers and positions of all pieces, as they are remembered. */
function pieces() {
  return look(appliance, (view) => view.pieces(appliance.targetId)) ?? [];
}

function expectUnbroken(): void {
  const all = pieces();
  expect(all.map((piece) => piece.number)).toEqual(all.map((_, index) => index + 1));
  expect(all.slice(1).map((piece) => piece.from)).toEqual(all.slice(0, -1).map((piece) => piece.to));
}

const queuedSnapshot = () =>
  appliance.deps.db
    .selectFrom('runs')
    .select(['kind', 'cause'])
    .where('state', '=', 'queued')
    .executeTakeFirst();

const away = () => renameSync(appliance.targetPath, `${appliance.targetPath}-away`);
const back = () => renameSync(`${appliance.targetPath}-away`, appliance.targetPath);

describe('killed while it ships', () => {
  test.each([
    'backups.wal.born-packs-written',
    'backups.wal.born.written',
    'backups.wal.born.verified',
    'backups.wal.born.recorded',
    'backups.wal.intended',
    'backups.wal.piece.written',
    'backups.wal.piece.verified',
    'backups.wal.recorded',
  ])(
    'at %s it goes on where it was',
    async (point) => {
      await upload();

      expect(await shipUntilKilled(appliance, point)).toMatchObject({ signal: 'SIGKILL' });
      await shipOnce();

      expectUnbroken();
      const born = look(appliance, (view) => view.born(appliance.targetId)) ?? [];
      expect(born.length).toBeGreaterThan(0);
    },
    60_000,
  );
});

describe('a target', () => {
  test('that was away is brought up to date when it is back, without a gap', async () => {
    const shipping = await startShipping(appliance);
    away();
    await upload();
    await waitFor('the target to be missed', () =>
      look(appliance, (view) => view.reports().get(appliance.targetId)?.state === 'away'),
    );
    back();
    await shipping.caughtUp();
    await shipping.stop();

    expectUnbroken();
  }, 60_000);

  test('that is away while too much piles up is given up; back again, the gap is declared and a snapshot asked for', async () => {
    const shipping = await startShipping(appliance);
    const before = await shipping.caughtUp();
    away();
    await switchOn(appliance, { pile_limit_bytes: 64 * 1024 ** 2 });
    await writeLog(appliance, 80);
    await waitFor('the target to be given up', () =>
      look(appliance, (view) => view.find(appliance.targetId)?.timeline === 0),
    );
    await switchOn(appliance, { pile_limit_bytes: null });
    back();
    await upload();
    const after = await shipping.caughtUp();
    const run = await waitFor('a snapshot to be asked for', queuedSnapshot);
    const gaps = await waitFor('the gap to be told', async () => {
      const told = await appliance.deps.db.selectFrom('wal_gaps').selectAll().execute();
      return told.length > 0 ? told : undefined;
    });
    await shipping.stop();

    expect(after.start).toBeGreaterThan(before.position);
    expect(gaps).toMatchObject([{ reason: 'away', target_id: appliance.targetId }]);
    expect(run).toEqual({ kind: 'snapshot', cause: 'schedule' });
    await appliance.performRun();
  }, 120_000);

  test('with pieces that this appliance did not write puts it into quarantine', async () => {
    const path = shipStatePath(appliance.dataDir);
    const shipping = await startShipping(appliance);
    await shipping.caughtUp();
    await shipping.stop();
    copyFileSync(path, `${path}.before`);
    await upload();
    await shipOnce();
    for (const end of ['-wal', '-shm']) if (existsSync(`${path}${end}`)) rmSync(`${path}${end}`);
    renameSync(`${path}.before`, path);

    const again = await startShipping(appliance);
    await upload();
    const report = await waitFor('shipping to stop', () =>
      look(appliance, (view) => {
        const found = view.reports().get(appliance.targetId);
        return found?.state === 'stopped' ? found : undefined;
      }),
    );
    await again.stop();

    expect(report.problem?.message).toContain('quarantine');
  }, 60_000);
});

test('released from quarantine it goes on as another life, and leaves the foreign pieces alone', async () => {
  const before = look(appliance, (view) => view.find(appliance.targetId));
  await releaseFromQuarantine(appliance.deps, systemActor('test'));

  const shipping = await startShipping(appliance);
  // The snapshot that takes the repository over under the new identity is asked for.
  await waitFor('a snapshot to be asked for', queuedSnapshot);
  expect(await appliance.performRun()).toMatchObject({ state: 'succeeded' });
  const after = await shipping.caughtUp();
  await shipping.stop();
  // Another start looks at once whether a snapshot is needed, before it does anything else.
  await shipOnce();
  const told = await appliance.deps.db
    .selectFrom('audit_entries')
    .select('detail')
    .where('action', '=', 'backups.wal.gap')
    .orderBy('at', 'desc')
    .executeTakeFirstOrThrow();

  // That one is the base of what is shipped since: no second one is asked for.
  expect(await queuedSnapshot()).toBeUndefined();
  expect(after.life).not.toBe(before?.life);
  expect(after.start).toBeGreaterThan(before?.position ?? 0n);
  const { foreign, first } = told.detail as { foreign: number; first: string[] };
  expect(foreign).toBeGreaterThan(0);
  for (const name of first) expect(existsSync(join(appliance.targetPath, name))).toBe(true);
}, 90_000);

test('killed when it has just begun anew, it still declares the gap', async () => {
  const path = shipStatePath(appliance.dataDir);
  for (const end of ['', '-wal', '-shm']) if (existsSync(`${path}${end}`)) rmSync(`${path}${end}`);

  expect(await shipUntilKilled(appliance, 'backups.wal.begun')).toMatchObject({ signal: 'SIGKILL' });
  await upload();
  await shipOnce();

  const gaps = await appliance.deps.db.selectFrom('wal_gaps').select('reason').execute();
  expect(gaps).toContainEqual({ reason: 'position-lost' });
}, 60_000);

test('released after a recovery it begins on a target that it has not seen yet, and one snapshot is enough', async () => {
  const path = shipStatePath(appliance.dataDir);
  for (const end of ['', '-wal', '-shm']) rmSync(`${path}${end}`, { force: true });
  while ((await queuedSnapshot()) !== undefined) await appliance.performRun();
  await appliance.deps.db.updateTable('targets').set({ unseen_since_recovery: true }).execute();
  await quarantine(appliance.deps, 'it was recovered');
  await releaseFromQuarantine(appliance.deps, systemActor('test'));

  const shipping = await startShipping(appliance);
  await waitFor('a snapshot to be asked for', queuedSnapshot);
  expect(await appliance.performRun()).toMatchObject({ state: 'succeeded' });
  await shipping.caughtUp();
  await shipping.stop();
  await shipOnce();

  expect(await queuedSnapshot()).toBeUndefined();
}, 90_000);
