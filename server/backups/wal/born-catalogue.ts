/** Lists of files born since a snapshot: found, read, and made known to a reader of the repository. */
import { HoldfastError } from '../../lib/errors.ts';
import type { RepositoryReadKeys, SourceSection, Target } from '../engine.ts';
import { listNames } from '../repository/listing.ts';
import { openObject, readObject, signingKeysOf } from '../repository/object-store.ts';
import type { Repository } from '../repository/open-repository.ts';
import { decodeBornFiles, type BornFiles } from './born-object.ts';
import { BORN_PREFIX, bornName, parseBornName } from './wal-names.ts';
import type { ObjectReference } from '../objects/object-names.ts';

/** Lowest number first. */
export async function listBorn(target: Target): Promise<ObjectReference[]> {
  const names = await listNames(target, BORN_PREFIX);
  return names
    .map(parseBornName)
    .filter((one) => one !== undefined)
    .sort((a, b) => a.number - b.number || (a.sha256 < b.sha256 ? -1 : 1));
}

/** @throws HoldfastError `integrity_failure` naming the object */
export async function readBorn(
  target: Target,
  keys: RepositoryReadKeys,
  reference: ObjectReference,
): Promise<BornFiles> {
  const name = bornName(reference);
  const stored = await readObject(target, 'files', name, reference.sha256);
  const expected = { repositoryId: keys.repositoryId, number: reference.number };
  return decodeBornFiles(await openObject(stored, keys), expected, signingKeysOf(keys));
}

/**
 * The lists that a moment needs, with their packs in the catalogue (a scratch one, or a recovery's), so that its readers find them.
 *
 * @param range numbers above `after`, up to `upTo`.
 * @throws HoldfastError `integrity_failure` when one is missing or damaged
 */
export async function openBorn(
  repository: Repository,
  range: { after: number; upTo: number },
): Promise<SourceSection[]> {
  const { target, keys, catalogue } = repository;
  const wanted = (await listBorn(target)).filter(
    ({ number }) => number > range.after && number <= range.upTo,
  );
  if (range.upTo > range.after && !wanted.some(({ number }) => number === range.upTo)) {
    throw new HoldfastError(
      'integrity_failure',
      `The list ${range.upTo} of new files is not on this target`,
      {
        hint: 'Files that were uploaded shortly before that moment are lost there. Choose an earlier moment, or another target.',
      },
    );
  }
  const sections: SourceSection[] = [];
  const known = new Set<string>();
  for (const pack of catalogue.packs()) known.add(pack.id);
  for (const reference of wanted) {
    const born = await readBorn(target, keys, reference);
    const index = {
      number: reference.number,
      packs: born.packs.filter((pack) => !known.has(pack.id)),
      supersedes: [],
      removals: [],
    };
    catalogue.addIndex(reference, 0, index);
    sections.push(born.section);
  }
  return sections;
}
