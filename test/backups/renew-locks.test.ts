/** A target that locks what it holds: locks are renewed for what snapshots need, and prune waits for the others. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ObjectLock, Target } from '../../server/backups/engine.ts';
import type { RepositoryWriter } from '../../server/backups/repository/writer.ts';
import {
  bytesOf,
  createPlace,
  openPlace,
  openPlaceWriter,
  takeSnapshot,
  withWriter,
  type Place,
} from './repository-place.ts';

vi.setConfig({ testTimeout: 60_000 });

const DAY_MS = 24 * 3600_000;
const LOCK: ObjectLock = { mode: 'compliance', days: 8 };
/** Eight days and a quarter more. */
const AHEAD_MS = 10 * DAY_MS;

let place: Place;
/** What the target holds, and until when. */
let locks: Map<string, Date>;
let asked: string[];
beforeEach(async () => {
  place = await createPlace();
  locks = new Map();
  asked = [];
});
afterEach(() => place.dispose());

/** A directory that locks as an S3 server does (`test/s3-lock` tries that on one). */
function locking(target: Target): Target {
  return {
    ...target,
    async delete(name) {
      const until = locks.get(name);
      return until !== undefined && until > place.clock.now() ? { until } : target.delete(name);
    },
    async holdUntil(name, { atLeast, until }) {
      asked.push(name);
      const present = locks.get(name);
      if (present !== undefined && present >= atLeast) return present;
      locks.set(name, until);
      return until;
    },
  };
}

async function write<T>(act: (writer: RepositoryWriter) => Promise<T>): Promise<T> {
  const repository = await openPlace(place);
  const writer = await openPlaceWriter(place, { ...repository, target: locking(repository.target) });
  try {
    return await act(writer);
  } finally {
    await writer.release();
    await repository.close();
  }
}

const renew = (days = LOCK.days) => write((writer) => writer.renewLocks({ ...LOCK, days }));
const kinds = () => new Set([...locks.keys()].map((name) => name.split('/')[0]));

test('everything that a snapshot needs is locked, and asked for again only when its lock ends too early', async () => {
  await takeSnapshot(place, { one: bytesOf('one', 50_000) });

  const first = await renew();

  expect(kinds()).toEqual(new Set(['heads', 'index', 'keys', 'packs', 'snapshots']));
  expect(first).toEqual({ looked: locks.size, renewed: locks.size, left: 0 });
  for (const until of locks.values()) expect(until.getTime()).toBe(place.clock.now().getTime() + AHEAD_MS);
  asked = [];
  place.clock.advance(DAY_MS);
  expect(await renew()).toMatchObject({ renewed: 0, left: 0 });
  expect(asked).toEqual([]);
  place.clock.advance(2 * DAY_MS);
  expect((await renew()).renewed).toBeGreaterThan(4);
});

test('what the lock still holds is reported by prune, kept, and removed when it is over', async () => {
  const old = await takeSnapshot(place, { old: bytesOf('old', 60_000) });
  await renew();
  await takeSnapshot(place, { next: bytesOf('next', 60_000) });
  await withWriter(place, (writer) => writer.forget([old.id]));
  await write((writer) => writer.prune());
  place.clock.advance(2 * DAY_MS);

  const held = await write((writer) => writer.prune());
  place.clock.advance(9 * DAY_MS);
  const after = await write((writer) => writer.prune());

  expect(held.lockedObjects).toBeGreaterThan(0);
  expect(held.lockedBytes).toBeGreaterThan(60_000);
  expect(held.lockedUntil).toBe([...locks.values()][0]?.toISOString());
  expect(held.waitingObjects).toBeGreaterThanOrEqual(held.lockedObjects);
  expect(after).toMatchObject({ lockedObjects: 0 });
  expect(after.deletedBytes).toBeGreaterThan(60_000);
});

test('a lock that was made longer holds for what is there at the next renewal; one that was made shorter ends no lock earlier', async () => {
  await takeSnapshot(place, { one: bytesOf('one', 50_000) });
  await renew();

  const longer = await renew(80);
  const ends = new Map(locks);
  asked = [];
  const shorter = await renew(1);

  expect(longer).toEqual({ looked: locks.size, renewed: locks.size, left: 0 });
  for (const until of ends.values()) expect(until.getTime()).toBe(place.clock.now().getTime() + 100 * DAY_MS);
  expect(shorter).toEqual({ looked: 0, renewed: 0, left: 0 });
  expect(asked).toEqual([]);
  expect(locks).toEqual(ends);
});
