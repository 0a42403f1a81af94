/**
 * Copies a snapshot to the same repository on another target: packs as they are stored, then an index of that target's own, keys and
 * keyring, the snapshot object. Nothing is opened on the way, so no secret key is needed.
 *
 * Guarantees: a pack that is not what its name says is never copied on; what is written is durable and read back before an index names
 * it; cut off at any instant, the next copy takes up what is there and stores nothing twice. Small parts that the source keeps no more
 * are none of the copy either, and its head says so.
 */
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { SnapshotRecord, Target, WrittenPack } from '../engine.ts';
import { isReduced, wholeRecord, withoutExpired } from '../expired-parts.ts';
import { numberedName, packName } from '../objects/object-names.ts';
import { createFirstFailure } from '../pipeline/first-failure.ts';
import { listNumbered } from './listing.ts';
import { newestGeneration, readObject } from './object-store.ts';
import type { Repository } from './open-repository.ts';
import { planCopy, type CopyPlan, type CopySource } from './plan-copy.ts';
import { readStoredSnapshot } from './read-snapshot.ts';
import type { RepositoryWriter } from './writer.ts';

/** Of up to 16 MiB each, as a rule; a pack is held in memory while it is on its way. */
const PACKS_AT_ONCE = 2;
/** More than there can be of an appliance whose kits change now and then. */
const MOST_KEYS_OBJECTS = 64;

export interface CopyPlaceOpen {
  repository: Repository;
  writer: RepositoryWriter;
}

export interface CopyOptions {
  signal: AbortSignal;
  /** Bytes of this snapshot that are there by now. */
  progress?: (bytesDone: number, bytesTotal: number) => void;
  /** Says whether so much may be copied. @throws what it wants when not. */
  weigh?: (plan: CopyPlan) => void;
}

export interface CopyReport {
  record: SnapshotRecord;
  packs: number;
  /** Of these packs. */
  bytes: number;
}

/** What is left of a snapshot at the source, from its catalogue, or with a key. @throws not_found, wrong_key, integrity_failure */
export async function readRecord(
  source: CopySource,
  { repository }: CopyPlaceOpen,
  wanted: { number: number; id: string },
): Promise<SnapshotRecord> {
  const reference = { number: wanted.number, sha256: wanted.id };
  const known = source.catalogue.findSnapshot(reference);
  if (known !== undefined) return known;
  // A catalogue that was made anew knows of no snapshot until it is read, but of what its head says is kept no more.
  const record =
    repository.catalogue.findSnapshot(reference) ??
    (await readStoredSnapshot(source.target, repository.keys, reference));
  return withoutExpired(wholeRecord(record), source.catalogue.expired());
}

/**
 * The head that lists it is the caller's to publish.
 *
 * @throws HoldfastError `integrity_failure` naming what is damaged at the source, `wrong_key`, and what the targets throw.
 */
export async function copySnapshot(
  source: CopySource,
  place: CopyPlaceOpen,
  wanted: { number: number; id: string },
  options: CopyOptions,
): Promise<CopyReport> {
  const { repository, writer } = place;
  const record = await readRecord(source, place, wanted);
  const name = numberedName('snapshots', { number: record.number, sha256: record.id });
  if (isReduced(record)) throw reducedThere(source, record);
  const plan = await planCopy(source, { catalogue: repository.catalogue, keys: repository.keys }, record);
  refuseDamaged(source, plan);
  options.weigh?.(plan);
  await copyKeys(source, place);
  await copyPacks(source, place, plan, options);
  const stored = await readObject(source.target, 'snapshots', name, record.id);
  await writer.publishCopy(record, stored);
  return { record, packs: plan.packs.length, bytes: plan.bytes };
}

/** What is left of it there is kept for itself, and no second copy of a snapshot. */
function reducedThere(source: CopySource, record: SnapshotRecord): HoldfastError {
  const [gone] = record.expired ?? [];
  return new HoldfastError(
    'not_found',
    `Of snapshot ${String(record.number)} only small parts are left on ${source.name}`,
    { hint: `The rest is kept no more since ${String(gone?.at.slice(0, 10))}: ${String(gone?.because)}.` },
  );
}

function refuseDamaged(source: CopySource, { damaged, missingChunks }: CopyPlan): void {
  const [first] = damaged;
  if (first === undefined && missingChunks === 0) return;
  const what =
    first === undefined
      ? `${String(missingChunks)} chunks of it are in no pack there`
      : `${first} is damaged or gone${damaged.length > 1 ? `, and ${String(damaged.length - 1)} more packs` : ''}`;
  throw new HoldfastError('integrity_failure', `The snapshot is not whole on ${source.name}: ${what}`, {
    hint: 'Damage is not copied on. Take a snapshot, which stores again what it can, then verify that target.',
    detail: damaged.join(', '),
  });
}

/** Those of older generations too: without them no kit opens what was encrypted then. Which are ours, their signatures tell a reader. */
async function copyKeys(source: CopySource, { repository, writer }: CopyPlaceOpen): Promise<void> {
  const newest = newestGeneration(repository.keys).generation;
  const listed = await listNumbered(source.target, 'keys');
  for (const reference of listed.filter(({ number }) => number <= newest).slice(-MOST_KEYS_OBJECTS)) {
    const name = numberedName('keys', reference);
    if ((await repository.target.find(name)) !== undefined) continue;
    const stored = await readIfWhole(source.target, name, reference.sha256);
    if (stored !== undefined) await writer.publishKeys(name, stored);
  }
}

async function readIfWhole(target: Target, name: string, sha256: string): Promise<Buffer | undefined> {
  try {
    return await readObject(target, 'keys', name, sha256);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'integrity_failure') return undefined;
    throw error;
  }
}

async function copyPacks(
  source: CopySource,
  { repository, writer }: CopyPlaceOpen,
  plan: CopyPlan,
  { signal, progress }: CopyOptions,
): Promise<void> {
  const lost = new Map<string, number>();
  for (const pack of repository.catalogue.packs()) if (pack.state !== 'present') lost.set(pack.id, pack.row);
  const failure = createFirstFailure();
  let publishing = Promise.resolve();
  let bytesDone = 0;
  const queue = [...plan.packs];
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined && !failure.failed; next = queue.shift()) {
      signal.throwIfAborted();
      const pack = source.catalogue.pack(next.row);
      if (pack?.id !== next.id) throw moved(source);
      await copyPack(source, writer, pack);
      const row = lost.get(pack.id);
      // An index names it already; it only was not there, or not whole.
      if (row !== undefined) repository.catalogue.setPackStates([{ row, state: 'present' }]);
      else await (publishing = publishing.then(() => writer.publishIndex([pack])));
      bytesDone += pack.sizeBytes;
      progress?.(bytesDone, plan.bytes);
    }
  };
  progress?.(0, plan.bytes);
  await Promise.all(
    Array.from({ length: PACKS_AT_ONCE }, () => work().catch((error: unknown) => failure.note(error))),
  );
  // What arrived counts, also when the rest did not: the next copy need not bring it again.
  if (failure.failed && !signal.aborted) await writer.flush().catch(() => undefined);
  failure.check();
  await writer.flush();
  crashPoint('backups.copy.packs-indexed');
}

function moved(source: CopySource): HoldfastError {
  return new HoldfastError('conflict', `The catalogue of ${source.name} changed while it was copied from`, {
    hint: 'It is tried again by itself.',
  });
}

async function copyPack(source: CopySource, writer: RepositoryWriter, pack: WrittenPack): Promise<void> {
  const { id: sha256, sizeBytes } = pack;
  const name = packName(sha256);
  const done = await writer.bring(source.target, { name, sha256, sizeBytes }, 'backups.copy.pack');
  if (done.state === 'locked') throw lockedDamage(name, done.until);
  if (done.state === 'not-whole-at-source') {
    throw new HoldfastError('integrity_failure', `${name} on ${source.name} is not what was written there`, {
      hint: 'It was not copied on. Verify that target, then take a snapshot: it stores again what it can.',
    });
  }
}

function lockedDamage(name: string, until: Date | undefined): HoldfastError {
  return new HoldfastError('wrong_state', `${name} is damaged there, and the lock of the target keeps it`, {
    hint: `It can be replaced ${until === undefined ? 'when its lock is over' : `after ${until.toISOString()}`}.`,
  });
}
