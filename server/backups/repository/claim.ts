/**
 * One writer per repository. A writer creates `writers/<n>` exclusively, above all others, and looks before every publish
 * and every delete whether it is still the highest. Whoever opened later wins; the loser stops with `locked`.
 *
 * Not guaranteed: a loser that looked just before the winner came may finish that one object. Objects are write-once and
 * named by their hash, so it harms nothing; two heads of one number are found and named by every reader.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../lib/clock.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { RepositoryReadKeys, RepositoryWriteKeys, Target } from '../engine.ts';
import { writerName } from '../objects/object-names.ts';
import { decodeWriter, encodeWriter, type WriterClaim } from '../objects/writer-object.ts';
import { listWriters } from './listing.ts';
import { readObject, signingKeysOf } from './object-store.ts';

/** How many occupied names above the highest valid claim are stepped over. */
const MAX_STEPS = 1000;

export interface ClaimOptions {
  keys: RepositoryWriteKeys;
  /** Id of this appliance. */
  holder: string;
  clock: Clock;
  /** A person has said that the other appliance is off. */
  takeOver: boolean;
  /** Number of the writer that made the newest head. */
  lastWriter: number;
}

export interface Claim {
  readonly number: number;
  /** @throws locked when another writer has come. */
  check(): Promise<void>;
}

/**
 * Takes the repository.
 *
 * @throws locked when another appliance holds it and nobody said that it is off.
 */
export async function claimRepository(target: Target, options: ClaimOptions): Promise<Claim> {
  const highest = await findHighest(target, options.keys);
  if (highest !== undefined && highest.holder !== options.holder && !options.takeOver)
    throw heldByOther(highest);
  const number = await createClaim(target, options, Math.max(highest?.number ?? 0, options.lastWriter) + 1);
  crashPoint('backups.writer.claimed');
  const claim: Claim = { number, check: () => checkHighest(target, options.keys, number) };
  await claim.check();
  for (const older of await listWriters(target)) {
    if (older < number) await target.delete(writerName(older));
  }
  crashPoint('backups.writer.swept');
  return claim;
}

/**
 * For what is written beside the one writer, without a claim of its own: this appliance still is the one that holds the repository.
 *
 * @throws locked when another one took it over.
 */
export async function checkHolder(target: Target, keys: RepositoryReadKeys, holder: string): Promise<void> {
  const highest = await findHighest(target, keys);
  if (highest !== undefined && highest.holder !== holder) throw heldByOther(highest);
}

async function createClaim(target: Target, options: ClaimOptions, first: number): Promise<number> {
  for (let number = first; number < first + MAX_STEPS; number++) {
    const claim: WriterClaim = {
      number,
      holder: options.holder,
      session: randomBytes(16).toString('hex'),
      startedAt: options.clock.now().toISOString(),
    };
    try {
      await target.create(
        writerName(number),
        await encodeWriter(options.keys.repositoryId, claim, options.keys),
      );
      return number;
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'conflict') throw error;
      // Taken: by a rival of this moment, or by a name that nobody signed. The next one, then.
    }
  }
  throw new HoldfastError('unavailable', 'The folder writers/ of the target is crowded with names', {
    hint: 'Something else writes to this target. Remove what is in writers/, or use another target.',
  });
}

async function checkHighest(target: Target, keys: RepositoryReadKeys, number: number): Promise<void> {
  const numbers = await listWriters(target);
  for (const other of numbers.toReversed()) {
    if (other <= number) break;
    const claim = await readClaim(target, keys, other);
    if (claim !== undefined) throw lost(claim);
  }
  if (!numbers.includes(number)) throw lost(undefined);
}

async function findHighest(target: Target, keys: RepositoryReadKeys): Promise<WriterClaim | undefined> {
  for (const number of (await listWriters(target)).toReversed()) {
    const claim = await readClaim(target, keys, number);
    if (claim !== undefined) return claim;
  }
  return undefined;
}

/** @returns undefined for a claim that this repository did not sign: it counts for nothing. */
async function readClaim(
  target: Target,
  keys: RepositoryReadKeys,
  number: number,
): Promise<WriterClaim | undefined> {
  try {
    const object = await readObject(target, 'writers', writerName(number));
    return decodeWriter(object, { repositoryId: keys.repositoryId, number }, signingKeysOf(keys));
  } catch (error) {
    if (error instanceof HoldfastError && ['integrity_failure', 'not_found'].includes(error.code))
      return undefined;
    throw error;
  }
}

function heldByOther(claim: WriterClaim): HoldfastError {
  return new HoldfastError('locked', 'Another appliance writes to this repository', {
    hint: 'If it is off for good, take the repository over: `holdfast snapshot --take-over`. Two appliances must never write to one repository.',
    detail: `writer ${String(claim.number)}, holder ${claim.holder}, since ${claim.startedAt}`,
  });
}

function lost(claim: WriterClaim | undefined): HoldfastError {
  return new HoldfastError('locked', 'Another process took over this repository', {
    hint: 'Nothing was lost: what was written stays. Find out whether two Holdfast run on the same data or target.',
    detail: claim ? `writer ${String(claim.number)}, holder ${claim.holder}` : 'our claim was removed',
  });
}
