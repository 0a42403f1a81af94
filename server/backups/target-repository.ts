/** Opens the repository on a target for one run: with the test identity where the appliance keeps one, and as its writer. */
import { join } from 'node:path';
import { needsKit, openRepositoryWriteKeys, type KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { dataPaths } from '../lib/data-folder.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { withAdvisoryLock } from '../lib/lock.ts';
import { lockProcess } from '../lib/process-lock.ts';
import type { RunContext } from '../lib/runs.ts';
import type {
  RepositoryGeneration,
  RepositoryReadKeys,
  RepositoryWriteKeys,
  SnapshotRecord,
  TargetConfig,
} from './engine.ts';
import { readRememberedHead } from './catalogue/open-catalogue.ts';
import type { ObjectReference } from './objects/object-names.ts';
import { openChunkReader, type ChunkReader } from './pipeline/chunk-reader.ts';
import { mayTakeOver, refuseForeignHead, refuseInQuarantine } from './quarantine.ts';
import { listUnknown, placeListed, raiseNumber, reserveNumber } from './copy-queries.ts';
import {
  findLastSnapshotNumber,
  getTarget,
  markMissing,
  noteKeysGiven,
  updateTarget,
  type TargetRow,
} from './queries.ts';
import { openTargetConfig, type TargetConfigDeps } from './target-config.ts';
import { noteSpace } from './target-space.ts';
import { recordSnapshots } from './record-snapshots.ts';
import { publishKeyring } from './publish-keyring.ts';
import { createRepository } from './repository/create-repository.ts';
import type { KeySource } from './repository/open-keys.ts';
import { openRepository, type Repository } from './repository/open-repository.ts';
import { tryReadSnapshot } from './repository/read-snapshot.ts';
import { readLogKnowledge } from './wal/take-over-born.ts';
import { openWriter, type RepositoryWriter } from './repository/writer.ts';

export interface RepositoryRunDeps extends TargetConfigDeps {
  db: Database;
  clock: Clock;
  dataDir: string;
  /** Role `run`. */
  keys: KeyClient;
}

export interface OpenTargetRepository {
  config: TargetConfig;
  repository: Repository;
  writer: RepositoryWriter;
  /** The signer and what may be read; without identities in write-only use. */
  keys: RepositoryWriteKeys;
  /** To be told once the newest keyring is there: only then has the target what the present kits need. */
  keyringGiven: () => void;
}

/** Of a target, whose file it is; that of the first target of an appliance has no name of its own. */
export type CatalogueOwner = Pick<TargetRow, 'catalogue'>;

/** The target that a recovery reads: it is the first of the recovered appliance. */
export const FIRST_TARGET: CatalogueOwner = { catalogue: '' };

/** Cache of what lies in the repository of this appliance on a target. */
export function cataloguePath(dataDir: string, repositoryId: string, { catalogue }: CatalogueOwner): string {
  const name = catalogue === '' ? repositoryId : `${repositoryId}.${catalogue}`;
  return join(dataPaths(dataDir).catalogue, `${name}.sqlite`);
}

/** What the last copy of the database stored there. */
export function lastCopyPath(dataDir: string, repositoryId: string, target: CatalogueOwner): string {
  return `${cataloguePath(dataDir, repositoryId, target)}.database`;
}

/** The newest head on a target that this appliance remembers: what it shows now must not be older. */
export function rememberedHead(
  dataDir: string,
  repositoryId: string,
  target: CatalogueOwner,
): ObjectReference | undefined {
  return readRememberedHead(cataloguePath(dataDir, repositoryId, target));
}

/** More restores than this are not under way at once. */
const RESTORE_CATALOGUES = 8;

/**
 * A catalogue for one restore alone. Two that shared one would bring it in step with different heads or targets under each
 * other's hands; a snapshot under way has its own. The file stays, so that the next restore need not read every index.
 *
 * @throws HoldfastError `locked`
 */
export function leaseCatalogue(
  dataDir: string,
  repositoryId: string,
  target: CatalogueOwner,
): { path: string; release(): void } {
  const base = `${cataloguePath(dataDir, repositoryId, target)}.restore`;
  for (let number = 1; ; number++) {
    const path = number === 1 ? base : `${base}-${String(number)}`;
    try {
      return { path, release: lockProcess(`${path}.lock`, 'too many restores at once').release };
    } catch (error) {
      const taken = error instanceof HoldfastError && error.code === 'locked';
      if (!taken || number >= RESTORE_CATALOGUES) throw error;
    }
  }
}

/** The generation that new packs are written under. */
export function newestGeneration(keys: RepositoryReadKeys): RepositoryGeneration {
  const newest = [...keys.generations].sort((a, b) => b.generation - a.generation)[0];
  if (newest === undefined) throw new HoldfastError('wrong_state', 'The repository has no keys yet');
  return newest;
}

/** By the run that took them: keyd gives them out once, and a run may open several targets. */
const taken = new WeakMap<KeyClient, { runId: string; identities: Promise<string[] | undefined> }>();

/** What the worker lent to the run: the test identities, undefined in write-only use, and with them the right to live keys. */
export function takeTestIdentities(keys: KeyClient, runId: string): Promise<string[] | undefined> {
  const known = taken.get(keys);
  if (known?.runId === runId) return known.identities;
  const identities = askTestIdentities(keys, runId);
  taken.set(keys, { runId, identities });
  return identities;
}

async function askTestIdentities(keys: KeyClient, runId: string): Promise<string[] | undefined> {
  try {
    return await keys.testIdentities(runId);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'needs_kit') return undefined;
    throw error;
  }
}

/** Other work of this appliance writes to the target: nothing is wrong with it, and its turn comes. */
export class TargetBusy extends HoldfastError {
  constructor(target: Pick<TargetRow, 'name'>) {
    super('locked', `Other work on ${target.name} is under way`, {
      hint: 'Wait for it to end, then try again.',
    });
  }
}

/**
 * Opens the repository as its one writer and releases it afterwards. A target that never held a snapshot gets its
 * repository first; one that did is never silently started over.
 *
 * @throws TargetBusy, and what opening the target throws.
 */
export async function withTargetRepository<T>(
  deps: RepositoryRunDeps,
  target: TargetRow,
  run: RunContext,
  act: (open: OpenTargetRepository) => Promise<T>,
): Promise<T> {
  const result = await withAdvisoryLock(
    deps.db,
    'targetWork',
    async () => ({ value: await openForWriting(deps, target, run, act) }),
    { of: target.id, tryOnly: true },
  );
  if (result !== undefined) return result.value;
  throw new TargetBusy(target);
}

/** A target that was away while the repository was re-keyed is given the new keys first, and then opened with them. */
async function openForWriting<T>(
  deps: RepositoryRunDeps,
  target: TargetRow,
  run: RunContext,
  act: (open: OpenTargetRepository) => Promise<T>,
): Promise<T> {
  for (let turn = 0; turn < 2; turn++) {
    const ended = await openOnce(deps, target, run, act);
    if (ended !== undefined) return ended.value;
  }
  throw new HoldfastError('integrity_failure', `${target.name} does not show the keys that it was given`, {
    hint: 'Verify this target. Nothing was written to it.',
  });
}

/** @returns undefined when the newest generation of keys was not there yet: it is now, and nothing else was done. */
async function openOnce<T>(
  deps: RepositoryRunDeps,
  target: TargetRow,
  run: RunContext,
  act: (open: OpenTargetRepository) => Promise<T>,
): Promise<{ value: T } | undefined> {
  await refuseInQuarantine(deps.db);
  const released = target.unseen_since_recovery || (await mayTakeOver(deps.db, target));
  const config = await openTargetConfig(deps, target);
  const applianceKeys = await openRepositoryWriteKeys(deps.keys);
  const path = cataloguePath(deps.dataDir, applianceKeys.repositoryId, target);
  const holder = await applianceId(deps.db);
  const keysObjects = await deps.keys.keysObjects();
  if (target.last_ok_at === null) {
    const [keysObject] = keysObjects;
    if (keysObject === undefined) throw new HoldfastError('internal', 'The repository has no keys');
    const made = {
      target: config,
      keys: applianceKeys,
      keysObject,
      cataloguePath: path,
      holder,
      clock: deps.clock,
    };
    await createRepository(made);
  }
  const identity = await takeTestIdentities(deps.keys, run.runId);
  const repository = await openRepository({
    target: config,
    keys: keysToOpen(applianceKeys, identity),
    cataloguePath: path,
  });
  try {
    for (const warning of repository.warnings) await run.log('warn', `${target.name}: ${warning.message}`);
    const keys = asWriter(applianceKeys, repository.keys);
    const lastSigned = Number(await keys.lastHeadNumber());
    await refuseForeignHead(deps, { newest: repository.head?.number ?? 0, lastSigned, released });
    const confirmed = Array.isArray(run.input.confirmed) ? run.input.confirmed : [];
    const writer = await openWriter(repository, {
      keys,
      holder,
      clock: deps.clock,
      takeOver: released || run.input.takeOver === true,
      confirmed: confirmed as never[],
      lastSnapshotNumber: await findLastSnapshotNumber(deps.db),
      reserveNumber: (atLeast) => reserveNumber(deps.db, atLeast),
      log: await readLogKnowledge(deps, target.id),
    });
    try {
      const own = newestGeneration(applianceKeys).generation;
      const there = newestGeneration(repository.keys).generation;
      if (Math.max(there, repository.head?.generation ?? 0) > own) throw rekeyedElsewhere(target.name);
      if (there < own) {
        // First of all: whoever recovers from here must know of the generation that lies here.
        await publishKeyring(deps, { repository, writer, keyringGiven: () => undefined });
        await writer.publishHead();
      }
      for (const { name, bytes } of keysObjects) {
        await writer.publishKeys(name, bytes);
        crashPoint('backups.keys.given');
      }
      if (there < own) return undefined;
      await notePlaces(deps, target, { repository, writer });
      const told = { keyringGiven: false };
      const keyringGiven = (): void => void (told.keyringGiven = true);
      const value = await act({ config, repository, writer, keys, keyringGiven });
      if (told.keyringGiven)
        await noteKeysGiven(deps.db, target.id, { keys: namesOf(keysObjects), at: deps.clock.now() });
      await noteSpace(deps, target.id, repository.target);
      return { value };
    } finally {
      await writer.release();
    }
  } finally {
    await repository.close();
  }
}

/** An appliance that has an identity for each generation believes the target in nothing; one that lacks some knows those itself. */
function keysToOpen(
  own: RepositoryWriteKeys,
  identity: string[] | undefined,
): RepositoryReadKeys | KeySource {
  const { repositoryId, trustRoot, generations } = own;
  const source = { identity: identity ?? [], repositoryId, trustRoot };
  return source.identity.length < generations.length ? { ...source, known: generations } : source;
}

/**
 * What is written goes to our own recipients: who holds a retired kit and an old keyring can sign keys of his own and put them on the
 * target. Only what opens them is taken from there.
 */
function asWriter(own: RepositoryWriteKeys, there: RepositoryReadKeys): RepositoryWriteKeys {
  const generations = own.generations.map((one) => {
    const found = there.generations.find((other) => other.generation === one.generation);
    return found?.recipient === one.recipient ? { ...one, identity: found.identity } : one;
  });
  return { ...own, generations };
}

/** It was recovered from a state before the re-keying: the same number must not be given to another generation. */
function rekeyedElsewhere(name: string): HoldfastError {
  return new HoldfastError('conflict', `${name} has a newer generation of keys than this appliance knows`, {
    hint: 'This appliance goes on from a state before it was re-keyed. Recover from this target, or retire it and add another place.',
  });
}

/** Of all generations: what a target was given last is compared with it. */
export function namesOf(keysObjects: readonly { name: string }[]): string {
  return keysObjects.map(({ name }) => name).join(' ');
}

/** What a target's head lists is there, and nothing else; and no snapshot gets a number that it knows. */
async function notePlaces(
  deps: RepositoryRunDeps,
  target: TargetRow,
  { repository, writer }: { repository: Repository; writer: RepositoryWriter },
): Promise<void> {
  const { id: repositoryId, target: place, keys, catalogue } = repository;
  // Not what the writer took up beyond its head: only the next head makes that count.
  const references = repository.snapshotReferences;
  const listed = references.map((one) => one.sha256);
  // Left by a run that was cut off before it told.
  const unknown = new Set(await listUnknown(deps.db, listed));
  const records: SnapshotRecord[] = [];
  for (const reference of references.filter((one) => unknown.has(one.sha256))) {
    const record = await tryReadSnapshot(place, keys, catalogue, reference);
    if (record !== undefined) records.push(record);
  }
  await raiseNumber(deps.db, writer.nextSnapshot() - 1);
  await writeTransaction(deps.db, async (tx) => {
    await recordSnapshots(tx, deps.clock, { repositoryId, targetId: target.id, records });
    const expired = repository.head?.expired ?? writer.expired();
    await placeListed(tx, { targetId: target.id, repositoryId, listed, expired, now: deps.clock.now() });
    await markMissing(tx, target.id, listed);
    if (target.unseen_since_recovery) await updateTarget(tx, target.id, { seen: true });
  });
}

interface SnapshotSource {
  snapshot: SnapshotRecord;
  reader: ChunkReader;
}

/**
 * Opens one snapshot for reading, beside whatever writes to the repository.
 *
 * @throws HoldfastError `needs_kit` when the appliance keeps no key that opens it.
 */
export async function withSnapshot<T>(
  deps: RepositoryRunDeps,
  run: RunContext,
  wanted: { targetId: string; snapshotId: string },
  act: (source: SnapshotSource) => Promise<T>,
): Promise<T> {
  const target = await getTarget(deps.db, wanted.targetId);
  const { repositoryId, trustRoot } = await openRepositoryWriteKeys(deps.keys);
  const identity = await takeTestIdentities(deps.keys, run.runId);
  if (identity === undefined) throw needsKit();
  const lease = leaseCatalogue(deps.dataDir, repositoryId, target);
  try {
    const repository = await openRepository({
      target: await openTargetConfig(deps, target),
      keys: { identity, repositoryId, trustRoot },
      cataloguePath: lease.path,
    });
    try {
      const { target: place, keys, catalogue } = repository;
      const reader = await openChunkReader({
        target: place.config,
        generations: keys.generations,
        catalogue,
      });
      try {
        const snapshot = await repository.findSnapshot(wanted.snapshotId).catch((error: unknown) => {
          throw error instanceof HoldfastError && error.code === 'wrong_key' ? needsKit(error) : error;
        });
        return await act({ snapshot, reader });
      } finally {
        await reader.close();
      }
    } finally {
      await repository.close();
    }
  } finally {
    lease.release();
  }
}

/** Id of this appliance, as its repository's writer. */
export async function applianceId(db: Database): Promise<string> {
  const row = await db.selectFrom('appliance').select('id').executeTakeFirst();
  if (row === undefined) throw new HoldfastError('wrong_state', 'This appliance has no identity yet');
  return row.id;
}
