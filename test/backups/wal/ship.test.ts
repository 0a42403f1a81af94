import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { look, startShipping, switchOn, type Shipping } from './shipping.ts';

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
});
