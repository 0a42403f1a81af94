/**
 * Two appliances of the same keys on one repository, as a copied machine and its original are: both write at the same time, each delayed
 * by chance before each of its calls. Whoever is told that its snapshot is stored finds it listed and whole; the other one is told that it
 * lost. Both may lose, when the one that lost swept what the other had not finished; left alone, either goes on. `SEED=n` lives one again; `SLOW=1` lives a hundred.
 */
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Target } from '../../server/backups/engine.ts';
import { HoldfastError } from '../../server/lib/errors.ts';
import {
  bytesOf,
  createPlace,
  openPlace,
  readFiles,
  storeFiles,
  withWriter,
  type Place,
} from '../backups/repository-place.ts';
import { chanceOf, type Chance } from './week/chance.ts';

const { SEED, SLOW } = process.env;
const ROUNDS = 5;
const seeds =
  SEED === undefined
    ? Array.from({ length: SLOW === undefined ? 3 : 100 }, () => randomInt(2 ** 32 - 1))
    : [Number(SEED)];

/** Every call waits, so that those of two machines come in another order each time. */
function delayed(target: Target, chance: Chance): Target {
  return new Proxy(target, {
    get(of, name) {
      const act = Reflect.get(of, name, of) as unknown;
      if (typeof act !== 'function' || !/^(create|write|delete|find|read|readBack)$/.test(String(name)))
        return act;
      return async (...args: unknown[]) => {
        await sleep(chance.number(4));
        return (act as (...given: unknown[]) => unknown).apply(of, args);
      };
    },
  });
}

/** @returns the number of the snapshot, or the refusal. */
async function tryToStore(machine: Place, content: Buffer): Promise<number | string> {
  try {
    return await withWriter(machine, async (writer, repository) => {
      const { writeKeys } = machine.local;
      const draft = await storeFiles(repository, writer, writeKeys, { content }, machine.clock);
      const { number } = await writer.publishSnapshot(draft);
      await writer.publishHead();
      return number;
    });
  } catch (error) {
    expect(error, String(error)).toBeInstanceOf(HoldfastError);
    const { code, message } = error as HoldfastError;
    // A rival that begins sweeps what is not finished.
    const lost = code === 'locked' || (code === 'unavailable' && message.endsWith(' was taken away'));
    return lost ? 'lost' : `${code}: ${message}`;
  }
}

test.for(seeds)(
  'seed %i: of two that write at once nobody is told of a snapshot that is not there',
  { timeout: 300_000 },
  async (seed) => {
    process.stdout.write(`SEED=${String(seed)}\n`);
    const chance = chanceOf(seed);
    const place = await createPlace();
    const machines = ['original', 'copy'].map((name): Place => {
      const open = async () => delayed(await place.open(), chance);
      return { ...place, open, cataloguePath: join(place.top, `${name}.sqlite`) };
    });
    const stored = new Map<number, Buffer>();
    const ends: (number | string)[] = [];
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const contents = machines.map((_, at) => bytesOf(`${String(round)} of ${String(at)}`, 9_000));
        const ended = await Promise.all(
          machines.map(async (machine, at) => {
            await sleep(chance.number(60));
            return tryToStore(machine, contents[at] ?? Buffer.alloc(0));
          }),
        );
        for (const [at, end] of ended.entries())
          if (typeof end === 'number') stored.set(end, contents[at] ?? Buffer.alloc(0));
        ends.push(...ended);
      }

      expect(ends.filter((end) => typeof end === 'string' && end !== 'lost')).toEqual([]);
      for (const [at, machine] of machines.entries()) {
        const content = bytesOf(`alone ${String(at)}`, 9_000);
        const end = await tryToStore(machine, content);
        expect(end).toEqual(expect.any(Number));
        stored.set(Number(end), content);
        ends.push(end);
      }

      // No number was given out twice.
      expect(stored.size).toBe(ends.filter((end) => typeof end === 'number').length);
      expect(await listedByKit(place)).toEqual(expect.objectContaining(Object.fromEntries(stored)));
    } finally {
      await place.dispose();
    }
  },
);

/** As after a fire: content of each snapshot that is listed, by number. */
async function listedByKit(place: Place): Promise<Record<string, Buffer | undefined>> {
  const repository = await openPlace(place, { kit: true, catalogue: join(place.top, 'kit.sqlite') });
  try {
    const found: Record<string, Buffer | undefined> = {};
    for (const { number, sha256 } of repository.snapshotReferences)
      found[number] = (await readFiles(repository, sha256)).content;
    return found;
  } finally {
    await repository.close();
  }
}
