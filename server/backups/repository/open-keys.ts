/**
 * What a reader gets from the target itself with a recovery kit or a test identity: the generations of keys, each believed
 * only when the trust root that came with the kit has signed it.
 */
import { HoldfastError } from '../../lib/errors.ts';
import { generationOf, openKeysObject } from '../../keys/index.ts';
import type { RepositoryGeneration, RepositoryReadKeys, Target } from '../engine.ts';
import { numberedName, type ObjectReference } from '../objects/object-names.ts';
import { listNumbered } from './listing.ts';
import { readObject } from './object-store.ts';
import { makeWarning, type RepositoryWarning } from './warnings.ts';

/** From a recovery kit, or a test identity with the appliance's own trust root. */
export interface KeySource {
  /** `AGE-SECRET-KEY-1…`; several where each opens another generation. */
  identity: string | readonly string[];
  repositoryId: string;
  /** Ed25519 public key, 32 bytes. */
  trustRoot: Uint8Array;
  /**
   * Of the appliance itself, where it lacks test identities (write-only, now or once): generations that are on the target and that the
   * identities do not open are taken as they are known, to write and to count by.
   */
  known?: readonly RepositoryGeneration[];
}

export interface OpenedKeys {
  keys: RepositoryReadKeys;
  /** Hash in the name of the newest keys object that was opened: reports name it. */
  keysObject: string;
  warnings: RepositoryWarning[];
}

/**
 * @throws no_repository when there are no keys objects; wrong_key when the identity opens none of them; integrity_failure
 *   when it opens some, and none is signed by the trust root.
 */
export async function openKeys(target: Target, source: KeySource): Promise<OpenedKeys> {
  const listed = await listNumbered(target, 'keys');
  if (listed.length === 0) throw noRepository();
  const identities = [source.identity].flat();
  const generations = new Map<number, RepositoryGeneration>();
  const closed: ObjectReference[] = [];
  const forged: string[] = [];
  let keysObject = '';
  for (const reference of listed) {
    const name = numberedName('keys', reference);
    try {
      const stored = await readObject(target, 'keys', name, reference.sha256);
      const statement = await openKeysObject(stored, identities, source);
      if (statement.generation !== reference.number) forged.push(name);
      else {
        generations.set(statement.generation, generationOf(statement, true));
        keysObject = reference.sha256;
      }
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      if (error.code === 'wrong_key') closed.push(reference);
      else if (error.code === 'integrity_failure') forged.push(name);
      else throw error;
    }
  }
  const there = new Set(listed.map(({ number }) => number));
  for (const one of source.known ?? [])
    if (there.has(one.generation) && !generations.has(one.generation)) generations.set(one.generation, one);
  if (generations.size === 0) throw closed.length > 0 ? wrongKit() : forgedKeys(forged);
  const warnings: RepositoryWarning[] = [];
  // Of one generation there are several when kits came and went: one that opens is enough.
  const unopened = closed.filter((reference) => !generations.has(reference.number));
  if (unopened.length > 0) {
    const lacking = [...new Set(unopened.map(({ number }) => number))].join(', ');
    warnings.push(
      makeWarning(
        'unopened_keys',
        `This key opens generation ${[...generations.keys()].sort((a, b) => a - b).join(', ')} of the repository's keys, and not ${lacking}: it may have been retired. What was written under ${lacking} takes a recovery kit that is in use.`,
        unopened.map((reference) => numberedName('keys', reference)),
      ),
    );
  }
  if (forged.length > 0) {
    warnings.push(
      makeWarning('forged_object', 'Keys objects that the trust root did not sign are ignored.', forged),
    );
  }
  const keys = {
    repositoryId: source.repositoryId,
    trustRoot: source.trustRoot,
    generations: [...generations.values()].sort((a, b) => a.generation - b.generation),
  };
  return { keys, keysObject, warnings };
}

export function noRepository(): HoldfastError {
  return new HoldfastError('no_repository', 'There is no backup repository at this target', {
    hint: 'Check the folder: a repository has the file HOLDFAST and a folder keys in it. Is its disk mounted?',
  });
}

function wrongKit(): HoldfastError {
  return new HoldfastError('wrong_key', 'This recovery kit does not open this repository', {
    hint: 'Take the newest kit of the appliance that wrote it; its repository id is in the kit and in the file HOLDFAST.',
  });
}

function forgedKeys(names: readonly string[]): HoldfastError {
  return new HoldfastError('integrity_failure', 'The keys of this repository are damaged or forged', {
    hint: 'They are not signed by the trust root in your kit. Take another copy of the repository.',
    detail: names.join(', ').slice(0, 500),
  });
}
