/**
 * Opens a repository for reading: with the appliance's own keys, with a recovery kit, or with a test identity.
 *
 * Guarantees: only what chains to the trust root is obeyed; the highest valid head decides what there is; whatever is
 * missing, forged, older than remembered or not accounted for is named in `warnings`, never silently passed over.
 */
import { HoldfastError } from '../../lib/errors.ts';
import type { Catalogue } from '../catalogue/catalogue.ts';
import { openCatalogue } from '../catalogue/open-catalogue.ts';
import type { RepositoryReadKeys, SnapshotRecord, Target, TargetConfig } from '../engine.ts';
import { isReducedBy } from '../expired-parts.ts';
import type { RepositoryHead } from '../objects/head-object.ts';
import { numberedName, type ObjectReference } from '../objects/object-names.ts';
import { decodeReport, type StoredReport } from '../objects/report-object.ts';
import { openTarget } from '../targets/open-target.ts';
import { findNewestHead, type FoundHead } from './find-head.ts';
import { listNames, listNumbered } from './listing.ts';
import { openObject, readObject, signingKeysOf } from './object-store.ts';
import { type KeySource, noRepository, openKeys } from './open-keys.ts';
import { chooseSnapshot, readSnapshot, tryReadSnapshot } from './read-snapshot.ts';
import { keyOf, syncIndexes, syncPacks } from './sync-catalogue.ts';
import { makeWarning, type RepositoryWarning } from './warnings.ts';

export interface OpenRepositoryOptions {
  target: TargetConfig | Target;
  /** The appliance's own keys, or a kit or test identity. */
  keys: RepositoryReadKeys | KeySource;
  /** File of the catalogue; made when missing. */
  cataloguePath: string;
  /** The newest head that the caller remembers, besides the catalogue's: an older one on the target is then noticed. */
  knownHead?: ObjectReference;
}

export interface Repository {
  readonly id: string;
  readonly target: Target;
  readonly keys: RepositoryReadKeys;
  readonly catalogue: Catalogue;
  readonly warnings: readonly RepositoryWarning[];
  /** The head that is followed; undefined only in a repository whose making was cut off, or that lost all its heads. */
  readonly head: RepositoryHead | undefined;
  readonly headReference: ObjectReference | undefined;
  /** The highest head number seen or remembered; the next head is above it. */
  readonly highestHead: number;
  /** Retained snapshots, oldest first, whether their objects can be read or not. */
  readonly snapshotReferences: readonly ObjectReference[];
  /** Index objects that count but could not be read. */
  readonly unreadIndexes: readonly ObjectReference[];
  /** Hash in the name of the keys object that a kit opened; undefined with the appliance's own keys. */
  readonly keysObject: string | undefined;
  /**
   * Retained snapshots that can be read, oldest first. Those that cannot are in `problems`.
   */
  snapshots(): Promise<{ snapshots: SnapshotRecord[]; problems: RepositoryWarning[] }>;
  /**
   * One retained snapshot by its id, a start of the id of at least 8 digits, its number, or `latest`, which is the newest of which not
   * only small parts are left.
   *
   * @throws not_found; conflict when a start fits several; integrity_failure when its object is damaged.
   */
  findSnapshot(wanted: string): Promise<SnapshotRecord>;
  /** Names of stored keyring objects that the head counts. */
  keyringObjects(): string[];
  /** Reports kept here that this repository's keys open and verify, in no order. */
  reports(): AsyncIterable<StoredReport>;
  /** Closes the catalogue, and the target when it was opened here. */
  close(): Promise<void>;
}

/**
 * @throws unavailable when the target cannot be reached; no_repository; wrong_key for a kit or keys of another repository;
 *   integrity_failure when the keys objects are forged.
 */
export async function openRepository(options: OpenRepositoryOptions): Promise<Repository> {
  const target = 'list' in options.target ? options.target : await openTarget(options.target);
  const ownsTarget = target !== options.target;
  let catalogue: Catalogue | undefined;
  try {
    const { keys, keysObject, warnings } = await readKeys(target, options.keys);
    const opened = openCatalogue(options.cataloguePath, keys.repositoryId);
    catalogue = opened.catalogue;
    const known = [catalogue.head(), options.knownHead].filter((one) => one !== undefined);
    const search = await findNewestHead(target, keys, known);
    const state = await readState(target, keys, catalogue, search.newest);
    return makeRepository({
      target,
      keys,
      keysObject,
      catalogue,
      found: search.newest,
      highestHead: search.highestNumber,
      ...state,
      warnings: [...warnings, ...search.warnings, ...state.warnings],
      ownsTarget,
    });
  } catch (error) {
    catalogue?.close();
    if (ownsTarget) await target.close();
    throw error;
  }
}

async function readKeys(
  target: Target,
  given: RepositoryReadKeys | KeySource,
): Promise<{ keys: RepositoryReadKeys; keysObject: string | undefined; warnings: RepositoryWarning[] }> {
  if (!('generations' in given)) return openKeys(target, given);
  const listed = await listNumbered(target, 'keys');
  if (listed.length > 0) return { keys: given, keysObject: undefined, warnings: [] };
  if ((await listNumbered(target, 'heads')).length === 0) throw noRepository();
  const message = 'The keys objects of this repository are gone: without them no recovery kit opens it.';
  return { keys: given, keysObject: undefined, warnings: [makeWarning('missing_keys', message, ['keys/'])] };
}

interface RepositoryState {
  snapshotReferences: ObjectReference[];
  unreadIndexes: ObjectReference[];
  warnings: RepositoryWarning[];
}

async function readState(
  target: Target,
  keys: RepositoryReadKeys,
  catalogue: Catalogue,
  found: FoundHead | undefined,
): Promise<RepositoryState> {
  const snapshots = await listNumbered(target, 'snapshots');
  const indexes = await listNumbered(target, 'index');
  const warnings: RepositoryWarning[] = [];
  const head = found?.head;
  if (head === undefined && snapshots.length + indexes.length > 0) {
    const message = 'No valid head is there. Shown is what the other objects say by themselves.';
    warnings.push(makeWarning('no_head', message, ['heads/']));
  }
  const unclaimed = {
    snapshots: head ? snapshots.filter((one) => one.number >= head.nextSnapshot) : [],
    indexes: head ? indexes.filter((one) => one.number >= head.nextIndex) : [],
  };
  warnings.push(...unclaimedWarnings(unclaimed));
  warnings.push(...missingWarnings(head, snapshots));
  const wanted = head?.indexes ?? indexes;
  const synced = await syncIndexes(target, keys, catalogue, wanted, unclaimed.indexes);
  warnings.push(...synced.warnings, ...(await syncPacks(target, catalogue)));
  if (found !== undefined) {
    rememberHead(catalogue, found.reference);
    catalogue.setExpired(found.head.expired ?? []);
  }
  return {
    snapshotReferences: [...(head?.snapshots ?? snapshots)],
    unreadIndexes: synced.unread,
    warnings,
  };
}

/** The catalogue keeps the highest head it ever saw, so that an older one is noticed each time. */
function rememberHead(catalogue: Catalogue, reference: ObjectReference): void {
  const known = catalogue.head();
  if (known === undefined || reference.number > known.number) catalogue.setHead(reference);
}

function unclaimedWarnings(found: {
  snapshots: ObjectReference[];
  indexes: ObjectReference[];
}): RepositoryWarning[] {
  const names = [
    ...found.snapshots.map((one) => numberedName('snapshots', one)),
    ...found.indexes.map((one) => numberedName('index', one)),
  ];
  if (names.length === 0) return [];
  return [
    makeWarning(
      'unclaimed_object',
      'Objects are newer than the newest head: left by a run that was cut off, or their head was taken away.',
      names,
    ),
  ];
}

function missingWarnings(
  head: RepositoryHead | undefined,
  listed: readonly ObjectReference[],
): RepositoryWarning[] {
  const present = new Set(listed.map(keyOf));
  const gone = head?.snapshots.filter((one) => !present.has(keyOf(one))) ?? [];
  if (gone.length === 0) return [];
  const names = gone.map((one) => numberedName('snapshots', one));
  return [makeWarning('missing_object', 'Snapshots that the head names are not there.', names)];
}

interface RepositoryParts extends RepositoryState {
  target: Target;
  keys: RepositoryReadKeys;
  keysObject: string | undefined;
  catalogue: Catalogue;
  found: FoundHead | undefined;
  highestHead: number;
  ownsTarget: boolean;
}

function makeRepository(parts: RepositoryParts): Repository {
  const { target, keys, catalogue, snapshotReferences } = parts;
  return {
    id: keys.repositoryId,
    target,
    keys,
    catalogue,
    warnings: parts.warnings,
    head: parts.found?.head,
    headReference: parts.found?.reference,
    highestHead: parts.highestHead,
    snapshotReferences,
    unreadIndexes: parts.unreadIndexes,
    keysObject: parts.keysObject,
    async snapshots() {
      const snapshots: SnapshotRecord[] = [];
      const unreadable: string[] = [];
      for (const reference of snapshotReferences) {
        const read = await tryReadSnapshot(target, keys, catalogue, reference);
        if (read === undefined) unreadable.push(numberedName('snapshots', reference));
        else snapshots.push(read);
      }
      const message = 'Snapshots that are missing, damaged, or not to be opened with this key.';
      const problems = unreadable.length > 0 ? [makeWarning('missing_object', message, unreadable)] : [];
      return { snapshots, problems };
    },
    async findSnapshot(wanted) {
      const expired = catalogue.expired();
      const whole = snapshotReferences.filter((one) => !isReducedBy(expired, one));
      // The newest is meant to be restored from.
      const among = wanted === 'latest' && whole.length > 0 ? whole : snapshotReferences;
      return readSnapshot(target, keys, catalogue, chooseSnapshot(among, wanted));
    },
    keyringObjects: () => parts.found?.head.keyring?.objects ?? [],
    reports: () => readReports(target, keys),
    async close() {
      catalogue.close();
      if (parts.ownsTarget) await target.close();
    },
  };
}

async function* readReports(target: Target, keys: RepositoryReadKeys): AsyncIterable<StoredReport> {
  for (const name of await listNames(target, 'reports/')) {
    const [, id, sha256] = /^reports\/([0-9a-f-]{36})-([0-9a-f]{64})\.age$/.exec(name) ?? [];
    if (id === undefined || sha256 === undefined) continue;
    try {
      const plaintext = await openObject(await readObject(target, 'reports', name, sha256), keys);
      yield decodeReport(plaintext, { repositoryId: keys.repositoryId, id }, signingKeysOf(keys));
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      if (!['integrity_failure', 'wrong_key', 'needs_kit', 'not_found'].includes(error.code)) throw error;
    }
  }
}
