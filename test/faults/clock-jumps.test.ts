/**
 * A clock that jumps by minutes to years, forth and back, between and before the works of a repository: whatever it says, snapshots are
 * taken in order and restore, and what must not be removed by it is not. `SEED=n` lives one again; `SLOW=1` lives two hundred.
 */
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { HoldfastError } from '../../server/lib/errors.ts';
import {
  bytesOf,
  createPlace,
  openPlace,
  readFiles,
  takeSnapshot,
  withWriter,
  type Place,
} from '../backups/repository-place.ts';
import { chanceOf, type Chance } from './week/chance.ts';

const { SEED, SLOW } = process.env;
const STEPS = 24;
const HOUR_MS = 3_600_000;
const JUMPS_MS = [1 / 60, 0.5, 3, 26, 24 * 40, 24 * 365 * 3].map((hours) => hours * HOUR_MS);
const KEPT = 3;
const seeds =
  SEED === undefined
    ? Array.from({ length: SLOW === undefined ? 2 : 200 }, () => randomInt(2 ** 32 - 1))
    : [Number(SEED)];
/** A server or disk that keeps time, and one whose clock is the machine's own, so that nothing tells the two apart. */
const CLOCKS = [
  { whose: 'of its own', targetKeepsTime: true },
  { whose: 'of the same machine', targetKeepsTime: false },
];
const cases = seeds.flatMap((seed) => CLOCKS.map((one) => ({ seed, ...one })));

/** Content of each snapshot that is retained, by number, as the one who works on it believes. */
type Retained = Map<number, Buffer>;

async function listedByKit(place: Place): Promise<Retained> {
  const repository = await openPlace(place, { kit: true, catalogue: join(place.top, 'kit.sqlite') });
  try {
    const found: Retained = new Map();
    for (const { number, sha256 } of repository.snapshotReferences)
      found.set(number, (await readFiles(repository, sha256)).content ?? Buffer.alloc(0));
    return found;
  } finally {
    await repository.close();
  }
}

/** Forgets all but the last few, and prunes. @returns `done`, or the refusal. */
async function thinOut(place: Place, retained: Retained): Promise<string> {
  try {
    return await withWriter(place, async (writer, repository) => {
      const { snapshots } = await repository.snapshots();
      const old = snapshots.toSorted((a, b) => a.number - b.number).slice(0, -KEPT);
      if (old.length > 0) await writer.forget(old.map(({ id }) => id));
      for (const { number } of old) retained.delete(number);
      await writer.prune();
      return 'done';
    });
  } catch (error) {
    expect(error, String(error)).toMatchObject({ code: 'wrong_state' });
    return (error as HoldfastError).message;
  }
}

function jump(place: Place, offMs: number, chance: Chance): number {
  const back = offMs !== 0 && chance.percent(40);
  const by = back ? -offMs : chance.pick(JUMPS_MS) * chance.pick([1, -1]);
  place.clock.advance(by);
  return offMs + by;
}

test.for(cases)(
  'seed $seed: by whatever a clock says that jumps, beside a target with a clock $whose, nothing that is kept is lost',
  { timeout: 300_000 },
  async ({ seed, targetKeepsTime }) => {
    process.stdout.write(`SEED=${String(seed)}\n`);
    const chance = chanceOf(seed);
    const place = Object.assign(await createPlace(), { targetKeepsTime });
    const retained: Retained = new Map();
    let offMs = 0;
    let number = 0;
    const store = async () => {
      const content = bytesOf(`${String(seed)} ${String(number)}`, 6_000);
      const taken = await takeSnapshot(place, { content });
      expect(taken.number).toBeGreaterThan(number);
      number = taken.number;
      retained.set(number, content);
    };
    try {
      for (let step = 0; step < STEPS; step++) {
        if (chance.percent(40)) offMs = jump(place, offMs, chance);
        if (chance.percent(60)) await store();
        else {
          const end = await thinOut(place, retained);
          if (targetKeepsTime && Math.abs(offMs) > 1.1 * HOUR_MS) expect(end).toContain('clock');
          expect(await listedByKit(place)).toEqual(retained);
        }
      }
      // Set right, the next snapshot is enough for all to go on.
      place.clock.advance(-offMs);
      await store();
      expect(await thinOut(place, retained)).toBe('done');
      expect(retained.size).toBeLessThanOrEqual(KEPT);
      expect(await listedByKit(place)).toEqual(retained);
    } finally {
      await place.dispose();
    }
  },
);
