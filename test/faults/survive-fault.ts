/**
 * "No snapshot is called stored that cannot be restored", tried once: a target fails in some way while a snapshot is written to it. The
 * run succeeds or says why not; whatever is then listed is restored, as after a fire, by the kit and nothing that this machine remembers;
 * and the next run, with what this machine does remember, goes on.
 */
import { randomInt } from 'node:crypto';
import { copyFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { verifyRepository } from '../../server/backups/repository/verify-repository.ts';
import { HoldfastError } from '../../server/lib/errors.ts';
import { bytesOf, openPlace, readFiles, takeSnapshot, type Place } from '../backups/repository-place.ts';
import { chanceOf } from './week/chance.ts';

type Files = Record<string, Buffer>;

const SHARED = { shared: bytesOf('shared', 9000) };
export const FIRST: Files = { ...SHARED, one: bytesOf('one', 20_000) };
const SECOND: Files = { ...SHARED, two: bytesOf('two', 20_000) };
/** Holds what the failed run may have stored, or only believed that it had. */
const THIRD: Files = { ...SECOND, three: bytesOf('three', 5_000) };

export interface Fault {
  name: string;
  begin(): void;
  end(): void;
}

export const { SLOW, SEED } = process.env;
export const seed = Number(SEED ?? randomInt(2 ** 32 - 1));

/** Some of them, the same for the same seed, in their order; with SLOW=1 all, or so many. */
export function choose<T>(all: readonly T[], quickCount: number, slowCount = all.length): T[] {
  const chance = chanceOf(seed);
  return all
    .map((one, at) => ({ one, at, rank: chance.number(2 ** 32) }))
    .sort((a, b) => a.rank - b.rank)
    .slice(0, SLOW === '1' ? slowCount : quickCount)
    .sort((a, b) => a.at - b.at)
    .map(({ one }) => one);
}

/** @param place holds one snapshot, of `FIRST`. @returns how the run ended: `stored`, or the code of its error. */
export async function surviveFault(place: Place, fault: Fault): Promise<string> {
  const about = `SEED=${String(seed)}: ${fault.name}`;
  const ended = await underFault(place, fault, about);
  const listed = await restoreListed(place, about);
  const known = ended === 'stored' || listed.length > 1 ? [FIRST, SECOND] : [FIRST];
  expect(listed, about).toEqual(known);

  await takeSnapshot(place, THIRD);
  const after = await restoreListed(place, `${about}, the run after it`);
  // What a run published before it was cut off, and no head named yet, is taken up by the next one.
  expect(after, about).toEqual(after.length === 3 ? [FIRST, SECOND, THIRD] : [...known, THIRD]);
  return ended;
}

async function underFault(place: Place, fault: Fault, about: string): Promise<string> {
  const ended = await meetFault(fault, about, () => takeSnapshot(place, SECOND));
  return ended === 'done' ? 'stored' : ended;
}

/** @returns `done`, or the code of the error, which has to be one for people. */
export async function meetFault(fault: Fault, about: string, work: () => Promise<unknown>): Promise<string> {
  fault.begin();
  try {
    await work();
    return 'done';
  } catch (error) {
    expect(error, `${about}: ${String(error)}`).toBeInstanceOf(HoldfastError);
    const { code, message } = error as HoldfastError;
    expect(message, about).not.toBe('');
    expect(code, `${about}: ${message}`).not.toBe('internal');
    return code;
  } finally {
    fault.end();
  }
}

/** The files of each snapshot, oldest first, read with the kit and a catalogue made anew; every byte that is stored was read too. */
export async function restoreListed(place: Place, about: string): Promise<Files[]> {
  const catalogue = join(place.top, 'after-a-fire.sqlite');
  await rm(catalogue, { force: true });
  const repository = await openPlace(place, { kit: true, catalogue });
  try {
    const { ok, problems } = await verifyRepository(repository, { everyByte: true });
    expect({ ok, problems }, about).toEqual({ ok: true, problems: [] });
    const found: Files[] = [];
    for (const { sha256 } of repository.snapshotReferences) found.push(await readFiles(repository, sha256));
    return found;
  } finally {
    await repository.close();
  }
}

/** What the machine remembers of a place, as it was before a fault. */
export async function rememberCatalogue(place: Place): Promise<() => Promise<void>> {
  const kept = join(place.top, 'before.sqlite');
  await copyFile(place.cataloguePath, kept);
  return async () => {
    for (const suffix of ['-wal', '-shm', '']) await rm(place.cataloguePath + suffix, { force: true });
    await copyFile(kept, place.cataloguePath);
  };
}
