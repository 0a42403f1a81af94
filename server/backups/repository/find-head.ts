/**
 * Finds the head to go by: the highest number among those that are signed by this repository's keys. What does not verify
 * is named and ignored. Time and names decide nothing.
 */
import { HoldfastError } from '../../lib/errors.ts';
import type { RepositoryReadKeys, Target } from '../engine.ts';
import { decodeHead, type RepositoryHead } from '../objects/head-object.ts';
import { numberedName, type ObjectReference } from '../objects/object-names.ts';
import { listNumbered, sameReference } from './listing.ts';
import { readObject, signingKeysOf } from './object-store.ts';
import { makeWarning, type RepositoryWarning } from './warnings.ts';

export interface FoundHead {
  reference: ObjectReference;
  head: RepositoryHead;
}

export interface HeadSearch {
  newest: FoundHead | undefined;
  /** The highest number that any valid head, or the head we remember, has: the next one is above it. */
  highestNumber: number;
  /** Names of all head objects, valid or not. */
  listed: ObjectReference[];
  warnings: RepositoryWarning[];
}

/**
 * @param known the newest head that we remember from before, if any.
 * @throws wrong_key when all heads here belong to another repository.
 */
export async function findNewestHead(
  target: Target,
  keys: RepositoryReadKeys,
  known: readonly ObjectReference[],
): Promise<HeadSearch> {
  const listed = await listNumbered(target, 'heads');
  const forged: string[] = [];
  let newest: FoundHead | undefined;
  const rivals: string[] = [];
  for (const reference of listed.toReversed()) {
    if (newest !== undefined && reference.number < newest.reference.number) break;
    const head = await readHead(target, keys, reference);
    if (head === undefined) forged.push(numberedName('heads', reference));
    else if (newest === undefined) newest = { reference, head };
    else {
      rivals.push(numberedName('heads', reference));
      // The later writer won the repository; its head is the one to follow.
      if (head.writer > newest.head.writer) newest = { reference, head };
    }
  }
  if (newest === undefined && forged.length > 0) await refuseForeign(target, keys, listed);
  const warnings: RepositoryWarning[] = [];
  if (forged.length > 0) warnings.push(forgedWarning(forged));
  if (rivals.length > 0) warnings.push(forkWarning(rivals));
  if (newest !== undefined) {
    warnings.push(...compareWithKnown(newest.reference, known), ...chainWarnings(newest, listed));
  }
  const numbers = [newest?.reference.number ?? 0, ...known.map((one) => one.number)];
  return { newest, highestNumber: Math.max(...numbers), listed, warnings };
}

/** @returns undefined when the object is not there, is not whole, or was not signed by this repository. */
export async function readHead(
  target: Target,
  keys: RepositoryReadKeys,
  reference: ObjectReference,
): Promise<RepositoryHead | undefined> {
  try {
    const stored = await readObject(target, 'heads', numberedName('heads', reference), reference.sha256);
    const expected = { repositoryId: keys.repositoryId, number: reference.number };
    return decodeHead(stored, expected, signingKeysOf(keys));
  } catch (error) {
    if (error instanceof HoldfastError && ['integrity_failure', 'not_found'].includes(error.code))
      return undefined;
    throw error;
  }
}

/** A target that holds another appliance's repository deserves a plainer word than "forged". */
async function refuseForeign(
  target: Target,
  keys: RepositoryReadKeys,
  listed: ObjectReference[],
): Promise<void> {
  const newest = listed.at(-1);
  if (newest === undefined) return;
  const name = numberedName('heads', newest);
  const first = (await readObject(target, 'heads', name)).toString('utf8').split('\n', 1)[0] ?? '';
  let repository: unknown;
  try {
    repository = (JSON.parse(first) as { repository?: unknown }).repository;
  } catch {
    return;
  }
  if (typeof repository !== 'string' || repository === keys.repositoryId) return;
  throw new HoldfastError('wrong_key', 'This target holds the repository of another appliance', {
    hint: 'Choose the target of this appliance, or the recovery kit that belongs to that repository.',
    detail: `there: ${repository.slice(0, 64)}, ours: ${keys.repositoryId}`,
  });
}

function forgedWarning(names: string[]): RepositoryWarning {
  return makeWarning(
    'forged_object',
    'Head objects that this appliance did not sign, or that were damaged, are ignored.',
    names,
  );
}

function forkWarning(names: string[]): RepositoryWarning {
  return makeWarning(
    'forked_head',
    'Two different heads have the same number: two machines wrote to this repository at once.',
    names,
  );
}

function compareWithKnown(newest: ObjectReference, known: readonly ObjectReference[]): RepositoryWarning[] {
  const ahead = known.find((one) => one.number > newest.number);
  if (ahead !== undefined) {
    const missing = numberedName('heads', ahead);
    return [
      makeWarning(
        'older_head',
        `The newest head of this target is number ${String(newest.number)}, but number ${String(ahead.number)} was there before. Someone put an older state back, or took the newest away.`,
        [missing],
      ),
    ];
  }
  const other = known.find((one) => one.number === newest.number && one.sha256 !== newest.sha256);
  return other === undefined ? [] : [forkWarning([numberedName('heads', other)])];
}

function chainWarnings(newest: FoundHead, listed: readonly ObjectReference[]): RepositoryWarning[] {
  const previous = newest.head.previous;
  if (previous === null || listed.some((one) => sameReference(one, previous))) return [];
  return [
    makeWarning('broken_chain', 'The head before the newest one is not there any more.', [
      numberedName('heads', previous),
    ]),
  ];
}
