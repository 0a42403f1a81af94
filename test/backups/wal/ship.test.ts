import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import type { PointInTimeStatus } from '../../../server/backups/wal/schema.ts';
import { openShipState } from '../../../server/backups/wal/ship-state.ts';
import { expectStatus } from '../../helpers/appliance.ts';
import { look, startShipping, switchOn, takeAnySnapshot, type Shipping } from './shipping.ts';

let appliance: StockedAppliance;
let shipping: Shipping;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  await switchOn(appliance);
  shipping = await startShipping(appliance);
}, 120_000);

afterAll(async () => {
  await shipping.stop();
  await appliance.close();
});

describe('shipping the write-ahead log', () => {
  test('pieces continue each other', async () => {
    await shipping.caughtUp();
    await appliance.upload('later.txt', Buffer.from('later'));
    const at = await shipping.caughtUp();

    const pieces = look(appliance, (view) => view.pieces(appliance.targetId)) ?? [];
    const born = look(appliance, (view) => view.born(appliance.targetId)) ?? [];

    expect(at.number).toBe(pieces.length);
    expect(pieces.slice(1).map((piece) => piece.from)).toEqual(pieces.slice(0, -1).map((piece) => piece.to));
    expect(born).toHaveLength(1);
  });

  test('the newest moment is one that can be restored, also while nothing is committed', async () => {
    await takeAnySnapshot(appliance);
    await shipping.caughtUp();
    await shipping.stop();
    const [last] = look(appliance, (view) => view.pieces(appliance.targetId).slice(-1)) ?? [];
    const later = new Date((last?.atMs ?? 0) + 3_600_000);
    const state = openShipState(appliance.dataDir);
    state.setComplete(appliance.targetId, later);
    state.close();

    const { targets } = await expectStatus(
      appliance.owner.call<PointInTimeStatus>('GET', '/point-in-time'),
      200,
    );

    expect(targets[0]?.windows.at(-1)?.to).toBe(new Date(last?.atMs ?? 0).toISOString());
    expect(targets[0]?.coveredUntil).toBe(later.toISOString());
  });
});
