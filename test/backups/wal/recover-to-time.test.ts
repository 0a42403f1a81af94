import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recoverAppliance } from '../../../server/backups/recover.ts';
import type { ShipPosition } from '../../../server/backups/wal/ship-state.ts';
import type { ChosenPoint } from '../../../server/backups/wal/plan-point.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { waitFor } from '../../helpers/wait-for.ts';
import { namedFiles } from './named-files.ts';
import { databaseNow, look, startShipping, switchOn, takeAnySnapshot, type Shipping } from './shipping.ts';

let appliance: StockedAppliance;
let shipping: Shipping;
let place: string;
/** Between the first and the second change, and after all of them. */
let between: Date;
let betweenLsn: bigint;
let last: Date;
let end: ShipPosition;

beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'holdfast-point-'));
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  await switchOn(appliance);
  shipping = await startShipping(appliance);
  await shipping.caughtUp();
  await takeAnySnapshot(appliance);
  await appliance.upload('first.txt', Buffer.from('first'));
  await shipping.caughtUp();
  between = await databaseNow(appliance);
  betweenLsn = (await shipping.caughtUp()).position;
  await appliance.upload('second.txt', Buffer.from('second'));
  await shipping.caughtUp();
  last = await databaseNow(appliance);
  await appliance.upload('third.txt', Buffer.from('third'));
  // A recovery takes the repository over: nothing is shipped any more after the first of them.
  end = await shipping.caughtUp();
}, 180_000);

afterAll(async () => {
  await shipping.stop();
  await appliance.close();
  await rm(place, { recursive: true, force: true });
});

let made = 0;

async function recoverTo(point: ChosenPoint) {
  const { id: kitId, identity: ageIdentity, repositoryId, trustRoot } = appliance.kit;
  const kit = { kitId, ageIdentity, repositoryId, trustRoot };
  const dataDir = join(place, `new-${String(++made)}`);
  const report = await recoverAppliance({
    ...{ target: { kind: 'directory', path: appliance.targetPath }, kit, dataDir, point },
    ...{ clock: systemClock, confirm: async () => true, signal: new AbortController().signal },
  });
  return { dataDir, report };
}

describe('recovery to a moment', () => {
  test('between two uploads has the first and not the second, and every file is whole', async () => {
    const { dataDir, report } = await recoverTo({ kind: 'time', at: between });

    expect(await namedFiles(dataDir)).toEqual({
      files: appliance.files.size - 2,
      whole: appliance.files.size - 2,
    });
    expect(report.point).toMatchObject({ asked: { time: between.toISOString() } });
    expect(Date.parse(report.point?.reachedAt ?? '')).toBeLessThanOrEqual(between.getTime());
  }, 120_000);

  test('by a position in the log has what was committed before it, and nothing after', async () => {
    const { dataDir } = await recoverTo({ kind: 'lsn', at: betweenLsn });

    expect(await namedFiles(dataDir)).toMatchObject({ files: appliance.files.size - 2 });
  }, 120_000);

  test('after which nothing more was committed takes all that was shipped', async () => {
    const { dataDir } = await recoverTo({ kind: 'time', at: end.completeAt });

    expect(await namedFiles(dataDir)).toMatchObject({ files: appliance.files.size });
  }, 120_000);

  test('shortly before the end still finds it', async () => {
    const { dataDir } = await recoverTo({ kind: 'time', at: last });

    expect(await namedFiles(dataDir)).toMatchObject({ files: appliance.files.size - 1 });
  }, 120_000);
});

test('a recovery takes the repository over, and the old appliance ships no more', async () => {
  await appliance.upload('too late', Buffer.from('too late'));

  const report = await waitFor('shipping to stop', () =>
    look(appliance, (view) => {
      const found = view.reports().get(appliance.targetId);
      return found?.state === 'stopped' ? found : undefined;
    }),
  );

  expect(report.problem?.code).toBe('locked');
});

describe('recovery to a moment is refused before anything is fetched', () => {
  test('for a time before the first snapshot, with the first time that there is', async () => {
    await expect(recoverTo({ kind: 'time', at: new Date(Date.now() - 86_400_000) })).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('before the first moment') as string,
      hint: expect.stringContaining('The first one is') as string,
    });
    expect(await readdir(join(place, `new-${String(made)}`))).not.toContain('postgres');
  });

  test('for a time that was not shipped yet, with the last one that was', async () => {
    await expect(recoverTo({ kind: 'time', at: new Date(Date.now() + 3_600_000) })).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('after the last moment') as string,
    });
  });

  test('for a position beyond the last, named', async () => {
    await expect(recoverTo({ kind: 'lsn', at: end.position + 2n ** 40n })).rejects.toMatchObject({
      hint: expect.stringMatching(/^The last one is [0-9A-F]+\/[0-9A-F]+\.$/) as string,
    });
  });
});
