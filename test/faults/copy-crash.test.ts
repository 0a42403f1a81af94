/** Copying to a second target is killed at each durable step, and targets come back in other states: nothing is lost, or stored twice. */
import { cp, rename, rm } from 'node:fs/promises';
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { expectStatus } from '../helpers/appliance.ts';
import {
  COPY_DEATHS,
  addSecondTarget,
  catchUp,
  diskOf,
  holdersOf,
  objectsIn,
  requestCopy,
  showTarget,
  trySnapshot,
  verifyByKit,
  type SecondTarget,
} from '../helpers/second-target.ts';
import {
  killRunAt,
  startStockedAppliance,
  stock,
  type StockedAppliance,
} from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 });

let appliance: StockedAppliance;
let second: SecondTarget;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  second = await addSecondTarget(appliance, 'second');
  await catchUp(appliance);
});
afterAll(() => appliance.close());

const more = () => appliance.upload(`${randomUUID()}.bin`, randomBytes(200_000));
const both = () =>
  Promise.all([appliance.targetPath, second.path].map((path) => verifyByKit(appliance, path)));

test.each(COPY_DEATHS)('killed at %s, a copy goes on from there and stores nothing twice', async (point) => {
  await second.away();
  await more();
  expect((await trySnapshot(appliance)).state).toBe('partial');
  await second.back();
  await requestCopy(appliance, second.id);

  expect(await killRunAt(appliance, point)).toMatchObject({ signal: 'SIGKILL' });

  const lacking = (await showTarget(appliance, second.id)).copies.behind;
  expect(lacking).toBe(point === 'backups.copy.recorded' ? 0 : 1);
  if (lacking > 0) {
    await requestCopy(appliance, second.id);
    expect(await appliance.performRun()).toMatchObject({ state: 'succeeded' });
  }
  const [first, copies] = await both();
  expect(copies).toEqual(first);
  expect(await objectsIn(second.path, 'packs')).toEqual(await objectsIn(appliance.targetPath, 'packs'));
  expect(await objectsIn(second.path, 'snapshots')).toEqual(
    await objectsIn(appliance.targetPath, 'snapshots'),
  );
});

test.each(['snapshot.published', 'snapshot.head-published', 'backups.copy.snapshot-published'])(
  'a snapshot that is killed at %s keeps its number to itself, and both targets are whole after the next',
  async (point) => {
    await more();
    await expectStatus(appliance.owner.call('POST', '/snapshots'), 202);
    expect(await killRunAt(appliance, point)).toMatchObject({ signal: 'SIGKILL' });
    // The other one leads now: it must not give the number of what the first holds already.
    const disk = diskOf(appliance.targetPath);
    await disk.away();
    await more();
    expect(await trySnapshot(appliance)).toMatchObject({ state: 'partial', result: { targetId: second.id } });
    await disk.back();
    await catchUp(appliance);
    await appliance.takeSnapshot();
    await catchUp(appliance);

    const [first = [], copies = []] = await both();
    expect(new Set(first).size).toBe(first.length);
    expect(first.at(-1)).toBe(copies.at(-1));
    expect((await showTarget(appliance, appliance.targetId)).copies.behind).toBe(0);
  },
);

describe('a second target that', () => {
  test('is put back to an older state is noticed, and caught up once a person agreed', async () => {
    await cp(second.path, `${second.path}-older`, { recursive: true });
    await more();
    const lost = await appliance.takeSnapshot();
    await rm(second.path, { recursive: true });
    await rename(`${second.path}-older`, second.path);
    await more();

    const run = await trySnapshot(appliance);

    expect(run).toMatchObject({ state: 'partial', result: { have: 1 } });
    expect(run.error?.hint).toMatch(/second: .*older state/);
    await expectStatus(appliance.owner.call('POST', '/snapshots?acceptWarnings=true'), 202);
    expect(await appliance.performRun()).toMatchObject({ state: 'succeeded', result: { have: 2 } });
    expect(await holdersOf(appliance, lost)).toEqual([appliance.targetId]);
    expect(await catchUp(appliance)).toMatchObject({ state: 'succeeded', result: { copied: 2 } });
    const [first, copies] = await both();
    expect(copies).toEqual(first);
  });

  test('is retired and added again goes on with what it holds, and takes only what is new', async () => {
    await expectStatus(appliance.owner.call('POST', `/targets/${second.id}/retire`), 200);
    await more();
    const alone = await trySnapshot(appliance);
    expect(alone).toMatchObject({ state: 'succeeded', result: { have: 1, needed: 1 } });
    const before = await objectsIn(second.path, 'packs');
    second = await addSecondTarget(appliance, 'second');

    const run = await catchUp(appliance);

    expect(run).toMatchObject({ state: 'succeeded' });
    const packs = await objectsIn(second.path, 'packs');
    expect(packs.length - before.length).toBe(Number(run?.result?.packs));
    expect(run?.result?.packs).toBeLessThan(6);
    const [first, copies] = await both();
    expect(copies).toEqual(first);
  });

  test('keeps fewer snapshots gets those that its own policy keeps, and the others keep theirs', async () => {
    const policy = {
      kind: 'rules',
      ...{ last: 2, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, withinDays: 0 },
      ...{ minimumCount: 1, maximumAgeDays: null, timeZone: 'UTC' },
    };
    const third = await addSecondTarget(appliance, 'third', { retention: policy });
    expect((await showTarget(appliance, third.id)).copies.behind).toBe(2);

    expect(await catchUp(appliance)).toMatchObject({ state: 'succeeded', result: { copied: 2 } });
    await more();
    const id = await appliance.takeSnapshot();

    expect((await holdersOf(appliance, id)).length).toBe(3);
    expect((await verifyByKit(appliance, third.path)).length).toBe(2);
    expect((await verifyByKit(appliance, second.path)).length).toBeGreaterThan(5);
    expect(await catchUp(appliance)).toBeUndefined();
    const fourth = await addSecondTarget(appliance, 'fourth', { bring: 'newest' });
    expect((await showTarget(appliance, fourth.id)).copies.behind).toBe(1);
  });
});
