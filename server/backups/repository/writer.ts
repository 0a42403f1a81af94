/**
 * The one writer of a repository. It publishes in this order: packs (by the pipeline) → index → keyring → snapshot → head.
 * Each object is durable and read back before the next is begun, so a power cut at any instant leaves a repository whose
 * newest head is whole; what was written beyond it is used by the next run or removed by prune.
 */
import type { Clock } from '../../lib/clock.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type {
  ObjectLock,
  RepositoryWriteKeys,
  SnapshotDraft,
  SnapshotRecord,
  Target,
  WrittenPack,
} from '../engine.ts';
import { expiredPartsOf } from '../expired-parts.ts';
import type { ExpiredParts, RepositoryHead } from '../objects/head-object.ts';
import { groupForIndex } from '../objects/index-object.ts';
import {
  numberedName,
  type ObjectReference,
  parseKeyringName,
  reportName,
  sha256Of,
} from '../objects/object-names.ts';
import { encodeReport, type StoredReport } from '../objects/report-object.ts';
import { encodeSnapshot } from '../objects/snapshot-object.ts';
import type { LogKnowledge } from '../wal/log-needs.ts';
import { adoptUnclaimed } from './adopt-unclaimed.ts';
import { bringObject, type Brought, type WantedObject } from './bring-object.ts';
import { claimRepository } from './claim.ts';
import { createClockGuard } from './clock-guard.ts';
import { forget, type PartsToExpire } from './forget.ts';
import { listNumbered, sameReference } from './listing.ts';
import { publish, sealObject } from './object-store.ts';
import type { Repository } from './open-repository.ts';
import { prune, type PruneOptions, type PruneReport } from './prune.ts';
import { renewLocks, type LockReport } from './renew-locks.ts';
import { repair, type RepairReport } from './repair.ts';
import type { WarningCode } from './warnings.ts';
import { publishHead, publishIndexObject, type WriterState } from './writer-state.ts';

export interface OpenWriterOptions {
  keys: RepositoryWriteKeys;
  /** Id of this appliance. */
  holder: string;
  clock: Clock;
  /** A person has said that the other appliance is off. */
  takeOver?: boolean;
  /** Warnings that a person has seen and agreed to go on with. */
  confirmed?: readonly WarningCode[];
  /** Snapshots up to this number were given out, although a target that was put back to an older state does not say so. */
  lastSnapshotNumber?: number;
  /**
   * Gives out the number of a new snapshot, so that no other target of this appliance has another one of that number, also when this
   * run never tells anybody of it. @returns `atLeast` or more.
   */
  reserveNumber?: (atLeast: number) => Promise<number>;
  /** What the appliance knows of the log that it ships to this target. */
  log?: LogKnowledge;
}

export interface RepositoryWriter {
  readonly number: number;
  /** Chunks of these packs count as stored from now on; small batches are gathered, `flush` or a snapshot sends the rest. */
  publishIndex(packs: readonly WrittenPack[]): Promise<void>;
  flush(): Promise<void>;
  /**
   * A base (`keyring/<epoch>-…`) replaces what was before, an addition (`keyring/<epoch>+<n>-…`) comes on top. Counts from
   * the next head on.
   */
  publishKeyring(name: string, stored: Uint8Array): Promise<void>;
  /** Puts a keys object there when it is missing. @returns true when it was. */
  publishKeys(name: string, stored: Uint8Array): Promise<boolean>;
  /** @throws wrong_state when its keyring epoch is not on the target yet; integrity_failure when a segment is not stored. */
  publishSnapshot(draft: SnapshotDraft): Promise<SnapshotRecord>;
  /**
   * Publishes a snapshot that another target of this repository holds, as it is: all its chunks are here by then. One that is here
   * already is left alone. @throws as `publishSnapshot`.
   */
  publishCopy(record: SnapshotRecord, stored: Uint8Array): Promise<void>;
  /** What the next head will list. */
  retained(): readonly ObjectReference[];
  /** What of these is kept no more, as the next head will say it. */
  expired(): readonly ExpiredParts[];
  /** The number that the next snapshot here would have at least. */
  nextSnapshot(): number;
  /** Makes all that was published since count. */
  publishHead(): Promise<{ reference: ObjectReference; head: RepositoryHead }>;
  publishReport(report: Omit<StoredReport, 'head'>): Promise<string>;
  /**
   * Drops snapshots by id, and of others only some parts, and publishes the head that says so. Bytes go with `prune`.
   *
   * @throws not_found, wrong_state.
   */
  forget(snapshotIds: readonly string[], parts?: readonly PartsToExpire[]): Promise<void>;
  /** @see prune.ts */
  prune(options?: PruneOptions): Promise<PruneReport>;
  /** @see renew-locks.ts */
  renewLocks(lock: ObjectLock): Promise<LockReport>;
  /** @see bring-object.ts */
  bring(source: Target, wanted: WantedObject, step: string): Promise<Brought>;
  /** @see repair.ts */
  repair(source: Target, names: readonly string[], signal?: AbortSignal): Promise<RepairReport>;
  /** Ends the work of this writer; nothing can be published after it. */
  release(): Promise<void>;
}

/** An index object is written once this many chunks wait, or the oldest has waited this long. */
const GATHER_CHUNKS = 20_000;
const GATHER_MS = 30_000;

/**
 * Takes the repository for writing.
 *
 * @throws locked when another appliance holds it; wrong_state when a warning needs a person's word first.
 */
export async function openWriter(
  repository: Repository,
  options: OpenWriterOptions,
): Promise<RepositoryWriter> {
  const { head } = repository;
  const open = repository.warnings.find((one) => one.confirm && !options.confirmed?.includes(one.code));
  if (open !== undefined) {
    throw new HoldfastError('wrong_state', open.message, {
      hint: 'Find out what happened to this target. To go on with it all the same, confirm it once: `holdfast snapshot --accept-warnings`.',
      detail: `${open.code}: ${open.objects.join(', ')}`,
    });
  }
  const claim = await claimRepository(repository.target, {
    keys: options.keys,
    holder: options.holder,
    clock: options.clock,
    takeOver: options.takeOver ?? false,
    lastWriter: head?.writer ?? 0,
  });
  await repository.target.sweep();
  const state: WriterState = {
    repository,
    keys: options.keys,
    clock: options.clock,
    guard: createClockGuard(options.clock, head?.createdAt),
    claim,
    snapshots: [...repository.snapshotReferences],
    expired: [...(head?.expired ?? repository.catalogue.expired())],
    indexes: [...(head?.indexes ?? (await listNumbered(repository.target, 'index')))],
    nextSnapshot: head?.nextSnapshot ?? 1,
    nextIndex: head?.nextIndex ?? 1,
    keyring: head?.keyring ?? null,
    longestRunMs: head?.longestRunMs ?? 0,
    lastHead: repository.headReference ?? null,
    highestHead: repository.highestHead,
    ledger: head?.ledger ?? null,
    wal: options.log === undefined ? (head?.wal ?? null) : options.log.position,
    log: options.log,
    removalAdopted: false,
  };
  await adoptUnclaimed(state);
  state.nextSnapshot = Math.max(state.nextSnapshot, (options.lastSnapshotNumber ?? 0) + 1);
  return makeWriter(state, options.reserveNumber);
}

function makeWriter(state: WriterState, reserveNumber: OpenWriterOptions['reserveNumber']): RepositoryWriter {
  const { repository, claim } = state;
  const gathered: WrittenPack[] = [];
  let gatheredSince = 0;
  let released = false;
  const requireOpen = (): void => {
    if (released) throw new HoldfastError('wrong_state', 'This writer has been released');
  };
  const begin = async (): Promise<void> => {
    requireOpen();
    await claim.check();
  };
  const flush = async (): Promise<void> => {
    if (gathered.length === 0) return;
    await begin();
    for (const packs of groupForIndex(gathered.splice(0))) {
      await publishIndexObject(state, { packs, supersedes: [], removals: [] });
    }
  };
  return {
    number: claim.number,
    async publishIndex(packs) {
      if (gathered.length === 0) gatheredSince = state.clock.monotonicMs();
      gathered.push(...packs);
      const chunks = gathered.reduce((sum, pack) => sum + pack.chunks.length, 0);
      if (chunks >= GATHER_CHUNKS || state.clock.monotonicMs() - gatheredSince >= GATHER_MS) await flush();
    },
    flush,
    async publishKeyring(name, stored) {
      await begin();
      await publishKeyring(state, name, stored);
    },
    async publishKeys(name, stored) {
      await begin();
      if ((await repository.target.find(name)) !== undefined) return false;
      await publish(repository.target, name, stored, 'backups.keys');
      return true;
    },
    async publishSnapshot(draft) {
      await flush();
      await begin();
      state.nextSnapshot = (await reserveNumber?.(state.nextSnapshot)) ?? state.nextSnapshot;
      return publishSnapshot(state, draft);
    },
    async publishCopy(record, stored) {
      await flush();
      await begin();
      await publishCopy(state, record, stored);
    },
    retained: () => state.snapshots,
    expired: () => state.expired,
    nextSnapshot: () => state.nextSnapshot,
    async publishHead() {
      await flush();
      await begin();
      return publishHead(state);
    },
    async publishReport(report) {
      await begin();
      const stored = await sealReport(state, report);
      const name = reportName(report.id, stored);
      await publish(repository.target, name, stored, 'backups.report');
      return name;
    },
    async forget(snapshotIds, parts = []) {
      await begin();
      await state.guard.check(repository.target);
      await forget(state, snapshotIds, parts);
    },
    async prune(options) {
      await flush();
      await begin();
      return prune(state, options);
    },
    async renewLocks(lock) {
      await begin();
      return renewLocks(state, lock);
    },
    async bring(source, wanted, step) {
      requireOpen();
      return bringObject(state, source, wanted, step);
    },
    async repair(source, names, signal) {
      await begin();
      return repair(state, source, names, signal);
    },
    async release() {
      released = true;
    },
  };
}

async function publishKeyring(state: WriterState, name: string, stored: Uint8Array): Promise<void> {
  const parsed = parseKeyringName(name);
  if (parsed?.sha256 !== sha256Of(stored)) {
    throw new HoldfastError('internal', 'A keyring object has a name that does not fit its content');
  }
  const current = state.keyring;
  const epoch = Number(current?.epoch ?? -1);
  if (parsed.epoch < epoch || (parsed.addition > 0 && parsed.epoch !== epoch)) {
    throw new HoldfastError('wrong_state', 'A keyring object is older than the one that is stored', {
      hint: 'This appliance may be a copy, or set back to an older state. Do not write with it.',
    });
  }
  await publish(state.repository.target, name, stored, 'backups.keyring');
  const before = parsed.addition > 0 && current ? current.objects.filter((one) => one !== name) : [];
  state.keyring = { epoch: String(parsed.epoch), objects: [...before, name] };
  state.repository.catalogue.setKeyring(state.keyring);
  crashPoint('backups.keyring.recorded');
}

async function publishSnapshot(state: WriterState, draft: SnapshotDraft): Promise<SnapshotRecord> {
  const { repository, keys } = state;
  checkKeyring(state, draft);
  checkSegments(state, draft);
  const number = state.nextSnapshot;
  const stored = await sealObject(await encodeSnapshot(keys.repositoryId, { ...draft, number }, keys), keys);
  const record = { ...draft, number, id: sha256Of(stored) };
  state.nextSnapshot++;
  const reference = { number, sha256: record.id };
  await publish(repository.target, numberedName('snapshots', reference), stored, 'backups.snapshot');
  repository.catalogue.addSnapshot(record);
  crashPoint('backups.snapshot.recorded');
  state.snapshots.push(reference);
  state.longestRunMs = Math.max(state.longestRunMs, Math.ceil(draft.durationMs));
  return record;
}

async function publishCopy(state: WriterState, record: SnapshotRecord, stored: Uint8Array): Promise<void> {
  const { repository } = state;
  const { target } = repository;
  const reference = { number: record.number, sha256: record.id };
  const name = numberedName('snapshots', reference);
  const listed = state.snapshots.some((one) => sameReference(one, reference));
  if (sha256Of(stored) !== record.id) {
    throw new HoldfastError('integrity_failure', 'A snapshot object does not fit its id');
  }
  checkKeyring(state, record);
  checkSegments(state, record);
  if ((await target.find(name)) !== undefined) {
    if ((await target.readBack(name)).sha256 !== record.id) await target.delete(name);
    else if (listed) return;
  }
  await publish(target, name, stored, 'backups.snapshot');
  repository.catalogue.addSnapshot(record);
  crashPoint('backups.snapshot.recorded');
  if (!listed) {
    state.snapshots.push(reference);
    state.expired.push(...expiredPartsOf(record));
  }
  state.nextSnapshot = Math.max(state.nextSnapshot, record.number + 1);
  state.longestRunMs = Math.max(state.longestRunMs, Math.ceil(record.durationMs));
}

function checkKeyring(state: WriterState, draft: SnapshotDraft): void {
  if (BigInt(draft.keyringEpoch) <= BigInt(state.keyring?.epoch ?? 0)) return;
  throw new HoldfastError('wrong_state', 'The keyring that this snapshot needs is not on the target yet', {
    detail: `needs epoch ${draft.keyringEpoch}, there is ${state.keyring?.epoch ?? 'none'}`,
  });
}

function checkSegments(state: WriterState, draft: SnapshotDraft): void {
  const names = new Set(draft.sections.map((section) => section.name));
  if (names.size !== draft.sections.length) {
    throw new HoldfastError('internal', 'Two sections of a snapshot have one name');
  }
  const ids = draft.sections.flatMap((section) => section.segments.map((segment) => segment.chunk));
  const missing = state.repository.catalogue.locate(ids).filter((found) => found === undefined).length;
  if (missing > 0) {
    throw new HoldfastError('integrity_failure', 'A snapshot names file lists that are not stored', {
      detail: `${String(missing)} of ${String(ids.length)} segments`,
    });
  }
}

async function sealReport(state: WriterState, report: Omit<StoredReport, 'head'>): Promise<Buffer> {
  const { keys } = state;
  return sealObject(
    await encodeReport(keys.repositoryId, { ...report, head: state.highestHead }, keys),
    keys,
  );
}
