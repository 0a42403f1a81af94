/** Lives of a database: what the same cluster and timeline do not tell apart. */
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readQuarantine } from '../../../server/backups/quarantine.ts';
import { settleLife } from '../../../server/backups/wal/life.ts';
import { openShipState, shipStatePath } from '../../../server/backups/wal/ship-state.ts';
import { walPieceName } from '../../../server/backups/wal/wal-names.ts';
import { withClient } from '../../../server/lib/postgres/index.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { databaseNow, look, startShipping, switchOn, takeAnySnapshot } from './shipping.ts';

let appliance: StockedAppliance;
let uploads = 0;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  await switchOn(appliance);
  await shipOnce();
  await takeAnySnapshot(appliance);
}, 120_000);
afterAll(() => appliance.close());

async function shipOnce() {
  const shipping = await startShipping(appliance);
  await appliance.upload(`file ${String(++uploads)}`, Buffer.from('more'));
  const at = await shipping.caughtUp();
  await shipping.stop();
  return at;
}

const forgetShipping = () => {
  for (const end of ['', '-wal', '-shm']) rmSync(shipStatePath(appliance.dataDir) + end, { force: true });
};

/** What shipping finds when it starts. @returns the life before and after */
async function settle(change: (state: ReturnType<typeof openShipState>) => void): Promise<[string, string]> {
  const state = openShipState(appliance.dataDir);
  try {
    change(state);
    const before = state.life();
    const { id } = await appliance.deps.db.selectFrom('appliance').select('id').executeTakeFirstOrThrow();
    await withClient(appliance.database.adminAddress, 'test', (client) =>
      settleLife(state, client, id, true),
    );
    return [before, state.life()];
  } finally {
    state.close();
  }
}

test('a snapshot belongs to the life whose log goes on from it', async () => {
  const life = look(appliance, (view) => view.life());
  const { sources } = await appliance.deps.db
    .selectFrom('snapshots')
    .select('sources')
    .orderBy('number', 'desc')
    .executeTakeFirstOrThrow();

  expect(life).toMatch(/^[0-9a-f]{16}$/);
  expect(sources).toContainEqual(expect.objectContaining({ kind: 'postgres', life }));
});

test('what an earlier recovery from the same timeline shipped does not stand in the way of the next one', async () => {
  const before = await shipOnce();
  const [piece] = look(appliance, (view) => view.pieces(appliance.targetId)) ?? [];
  if (piece === undefined) throw new Error('nothing was shipped');
  const { to } = piece;
  const beyond = { ...piece, life: 'ab'.repeat(8), from: to + 2n ** 40n, to: to + 2n ** 40n + 8n };
  const path = join(appliance.targetPath, walPieceName(beyond));
  mkdirSync(dirname(path), { recursive: true });
  copyFileSync(join(appliance.targetPath, walPieceName(piece)), path);
  await appliance.deps.db
    .updateTable('appliance')
    .set({ recovered_at: await databaseNow(appliance) })
    .execute();
  forgetShipping();

  const after = await shipOnce();

  expect(await readQuarantine(appliance.deps.db)).toBeUndefined();
  expect(after).toMatchObject({ systemId: before.systemId, timeline: before.timeline });
  expect(after.life).not.toBe(before.life);
  expect(after.lastGap).toMatchObject({ reason: 'position-lost' });
});

describe('a new life begins', () => {
  test('never while the history goes on', async () => {
    const [before, after] = await settle(() => undefined);

    expect(after).toBe(before);
  });

  test('when PostgreSQL is not as far as what was shipped', async () => {
    const [before, after] = await settle((state) => {
      for (const at of state.list()) state.save({ ...at, position: at.position + 2n ** 40n });
    });

    expect(after).not.toBe(before);
  });

  test('when PostgreSQL has something else where the shipped log ends, however far it is', async () => {
    await shipOnce();
    const [before, after] = await settle((state) => {
      const [at] = state.list();
      const [piece] = state.pieces(appliance.targetId).slice(-1);
      const [known] = state.marks();
      if (at === undefined || piece === undefined || known === undefined)
        throw new Error('nothing was shipped');
      state.shipped(at, piece, { ...known.mark, sha256: '00'.repeat(32) });
    });

    expect(after).not.toBe(before);
    expect(await shipOnce()).toMatchObject({ life: after, lastGap: { reason: 'new-timeline' } });
  });
});
