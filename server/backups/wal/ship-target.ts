/**
 * One target that the write-ahead log is shipped to. In each round: files that are new, a keyring that is newer than the log, then
 * the log, in pieces of which each is durable and read back before the position moves.
 *
 * Guarantees: pieces continue each other, or the first after a gap declares it; what this target was never given is never let go
 * unnoticed. Another writer on the target stops it. Nothing here changes the database.
 */
import type { ClientBase } from 'pg';
import type { FieldSealer, KeyClient } from '../../keys/index.ts';
import { openRepositoryWriteKeys } from '../../keys/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { dataPaths } from '../../lib/data-folder.ts';
import type { Database } from '../../lib/db.ts';
import { withSharedLockOn } from '../../lib/lock.ts';
import { formatLsn, readWalBytes, readWalPosition, type WalPosition } from '../../lib/postgres/index.ts';
import type { RepositoryWriteKeys, Target } from '../engine.ts';
import type { KeyringState } from '../objects/head-object.ts';
import { parseKeyringName, sha256Of } from '../objects/object-names.ts';
import { findBegunAt } from '../quarantine-queries.ts';
import { quarantine, refuseInQuarantine } from '../quarantine.ts';
import type { TargetRow } from '../queries.ts';
import { checkHolder } from '../repository/claim.ts';
import { listNames } from '../repository/listing.ts';
import { publish, sealObject } from '../repository/object-store.ts';
import { openTargetConfig } from '../target-config.ts';
import { applianceId } from '../target-repository.ts';
import { openTarget } from '../targets/open-target.ts';
import { listBorn } from './born-catalogue.ts';
import { shipBornFiles } from './born-files.ts';
import { createBornScan, type BornScan } from './born-scan.ts';
import { markOf } from './life.ts';
import { tellAnswers } from './round.ts';
import type { ShipPosition, ShipState } from './ship-state.ts';
import { chainPrefix, parseWalPieceName, sameChain, WAL_PREFIX, walPieceName } from './wal-names.ts';
import { encodeWalPiece, MAX_PIECE_BYTES, type GapReason, type WalPiece } from './wal-piece.ts';

export interface ShipDeps {
  db: Database;
  clock: Clock;
  dataDir: string;
  /** Role `run`. */
  keys: KeyClient;
  sealer: Pick<FieldSealer, 'open'>;
  state: ShipState;
}

/** Where the server's log stands, with a connection to read it by that nobody else uses meanwhile. */
export interface LogSource {
  client: ClientBase;
  now: WalPosition;
  /** The oldest position that is still kept; undefined when nothing was. */
  kept: bigint;
}

export interface TargetShipper {
  /** Brings the target up to `source.now`; `answered` each time that something got on. @throws whatever keeps it from that; the next call goes on from there. */
  ship(source: LogSource, signal: AbortSignal, answered?: () => void): Promise<void>;
  /**
   * Begins a stretch where there is none that can go on, and writes nothing to the target: also while another appliance holds it, so that
   * the snapshot that takes it over ends in the stretch, and is its base.
   */
  begin(source: LogSource, answered?: () => void): Promise<void>;
  /** Forgets where it was, so that what piled up may go; the next piece declares it. */
  giveUp(reason: GapReason): void;
  /** Pieces that a copy of this appliance, or its former future, left there: found where a new life began, and left alone. */
  foreign(): readonly string[];
  close(): Promise<void>;
}

interface OpenPlace {
  target: Target;
  keyring: Set<string>;
  /** Names of the keys objects that are there. */
  keysObjects: Set<string>;
}

export function createTargetShipper(deps: ShipDeps, row: TargetRow): TargetShipper {
  const { state } = deps;
  let place: OpenPlace | undefined;
  let scan: BornScan = createBornScan(dataPaths(deps.dataDir).files, deps.clock);
  let tell: (() => void) | undefined;
  let foreign: readonly string[] = [];
  const answered = (): void => tell?.();

  const open = async (isHolder = true): Promise<OpenPlace> => {
    if (place !== undefined) return place;
    const target = tellAnswers(await openTarget(await openTargetConfig(deps, row, 'log')), answered);
    try {
      const keyring = new Set(await listNames(target, 'keyring/'));
      const keysObjects = new Set(await listNames(target, 'keys/'));
      if (isHolder)
        await checkHolder(target, await openRepositoryWriteKeys(deps.keys), await applianceId(deps.db));
      await settleIntent(deps, target, row.id);
      await refuseForeign(deps, target, row.id);
      return (place = { target, keyring, keysObjects });
    } catch (error) {
      await target.close();
      throw error;
    }
  };
  const close = async (): Promise<void> => {
    const was = place;
    place = undefined;
    await was?.target.close();
  };
  const position = async ({ target }: OpenPlace, source: LogSource): Promise<ShipPosition> => {
    const at = state.find(row.id);
    foreign = at === undefined || at.life === state.life() ? [] : await listBeyond(target, at);
    const reason =
      at === undefined ? await whyAnew(deps, target, source.now) : breakOf(at, source, state.life());
    if (at !== undefined && reason === undefined) return at;
    scan = createBornScan(dataPaths(deps.dataDir).files, deps.clock);
    return begin(deps, { targetId: row.id, target, source }, { at, reason, scan, answered });
  };
  return {
    async begin(source, told) {
      tell = told;
      try {
        await refuseInQuarantine(deps.db);
        await position(await open(false), source);
      } finally {
        // Who holds it is looked at when it is opened.
        await close().catch(() => undefined);
      }
    },
    async ship(source, signal, told) {
      tell = told;
      try {
        await refuseInQuarantine(deps.db);
        const opened = await open();
        // Each round anew: the repository may have been re-keyed.
        const keys = await openRepositoryWriteKeys(deps.keys);
        await checkHolder(opened.target, keys, await applianceId(deps.db));
        let at = await position(opened, source);
        if (at.position >= source.now.flushed) return;
        const parts = { deps, place: { ...opened, keys }, source, scan, signal, answered };
        await giveKeys(parts);
        at = await shipNewFiles(parts, at);
        const newest = await shipKeyring(parts);
        while (at.position < source.now.flushed) {
          signal.throwIfAborted();
          at = await shipPiece(parts, at, newest);
        }
      } catch (error) {
        // What was found out about the target may not hold any more.
        await close().catch(() => undefined);
        throw error;
      }
    },
    giveUp(reason) {
      const at = state.find(row.id);
      if (at !== undefined && at.gap?.reason !== reason) state.save(givenUp(at, reason));
    },
    foreign: () => foreign,
    close,
  };
}

/** A timeline that no server has, so that the next round begins a new stretch. */
export function givenUp(at: ShipPosition, reason: GapReason): ShipPosition {
  const gap = at.gap ?? { from: at.position, since: at.completeAt, reason };
  // The piece that was being written may be there all the same, with its number.
  const number = at.intent === null ? at.number : at.number + 1;
  return { ...at, timeline: 0, number, gap, intent: null };
}

/** A piece was being written when the process ended: it counts when it is there, whole. */
async function settleIntent(deps: ShipDeps, target: Target, targetId: string): Promise<void> {
  const { state } = deps;
  const at = state.find(targetId);
  if (at === undefined) return;
  if (at.intent !== null) {
    const { intent } = at;
    const name = walPieceName(intent);
    const found = (await target.find(name)) === undefined ? undefined : await target.readBack(name);
    if (found?.sha256 === intent.sha256) {
      state.shipped(afterPiece(at, intent), intent);
    } else state.save({ ...at, intent: null });
  }
}

/** What lies beyond our position and is not ours was written by a copy of this appliance, or by its future. */
async function refuseForeign(deps: ShipDeps, target: Target, targetId: string): Promise<void> {
  const at = deps.state.find(targetId);
  // A life that has ended is left alone: this one begins anew beside it.
  if (at?.life !== deps.state.life()) return;
  if ((await listBeyond(target, at)).length > 0) await refuseCopy(deps);
}

/** Pieces of the same life that this appliance does not know of. */
async function listBeyond(target: Target, at: ShipPosition): Promise<string[]> {
  const names = await listNames(target, chainPrefix(at));
  return names.filter((name) => (parseWalPieceName(name)?.to ?? 0n) > at.position);
}

async function refuseCopy(deps: ShipDeps): Promise<void> {
  await quarantine(
    deps,
    'its target holds pieces of the write-ahead log that this appliance did not write. A copy of it has written there, or this machine was set back to an older state.',
  );
  await refuseInQuarantine(deps.db);
}

/** The target may hold pieces of before: from another line of history, or from this one while its position was lost. */
async function whyAnew(deps: ShipDeps, target: Target, now: WalPosition): Promise<GapReason | undefined> {
  const names = await listNames(target, WAL_PREFIX);
  const pieces = names.map(parseWalPieceName).filter((one) => one !== undefined);
  if (pieces.length === 0) return undefined;
  const ours = pieces.filter(
    ({ systemId, timeline }) => systemId === now.systemId && timeline === now.timeline,
  );
  // What an earlier recovery from the same timeline shipped, or a copy before a person released this one, is of another life.
  const since = (await findBegunAt(deps.db))?.getTime() ?? 0;
  if (ours.some((piece) => piece.to > now.flushed && piece.atMs > since)) await refuseCopy(deps);
  return ours.length > 0 ? 'position-lost' : 'new-timeline';
}

function breakOf(at: ShipPosition, { now, kept }: LogSource, life: string): GapReason | undefined {
  if (at.timeline === 0) return at.gap?.reason ?? 'away';
  if (!sameChain(at, { ...now, life })) return 'new-timeline';
  return at.position < kept ? 'slot-lost' : undefined;
}

/** Numbers go on where they are known; else far above any that can have been given out, since no target takes a piece each second. */
async function begin(
  deps: ShipDeps,
  { targetId, target, source }: { targetId: string; target: Target; source: LogSource },
  from: {
    at: ShipPosition | undefined;
    reason: GapReason | undefined;
    scan: BornScan;
    answered: () => void;
  },
): Promise<ShipPosition> {
  const { at, reason } = from;
  const life = deps.state.life();
  // Another life of this appliance may have given out numbers that this one does not know of.
  const isUnknown = at === undefined ? reason !== undefined : at.life !== life;
  const numbered = isUnknown ? Math.floor(deps.clock.now().getTime() / 1000) : 0;
  if (at === undefined || isUnknown) {
    const highest = (await listBorn(target)).at(-1)?.number ?? 0;
    deps.state.raiseBorn(Math.max(numbered, highest));
  }
  deps.state.forgetKnown(targetId);
  // What is there now comes with the snapshot that this stretch waits for, which reads the store after its end. So the stretch begins
  // behind this look: no snapshot whose end lies in it has read the store before.
  for await (const { contents } of from.scan.look()) {
    deps.state.learn(targetId, contents);
    from.answered();
  }
  const now = await readWalPosition(source.client);
  const gap =
    reason === undefined
      ? null
      : (at?.gap ?? { from: at?.position ?? null, since: at?.completeAt ?? null, reason });
  const begun: ShipPosition = {
    ...{ targetId, systemId: now.systemId, timeline: now.timeline, life, segmentBytes: now.segmentBytes },
    ...{ start: now.flushed, startAt: now.at, position: now.flushed, completeAt: now.at },
    ...{ number: Math.max(at?.number ?? 0, numbered), previous: at?.previous ?? null, born: at?.born ?? 0 },
    ...{ gap, lastGap: gap, intent: null },
  };
  deps.state.save(begun);
  crashPoint('backups.wal.begun');
  return begun;
}

interface RoundParts {
  deps: ShipDeps;
  place: OpenPlace & { keys: RepositoryWriteKeys };
  source: LogSource;
  scan: BornScan;
  signal: AbortSignal;
  answered: () => void;
}

/**
 * What is shipped goes to the newest generation at once, so its keys have to be there before: no kit would open it. First the keyring,
 * so that whoever recovers knows of the generation. The run that gives keys to targets may do the same beside this: names say the content.
 */
async function giveKeys(parts: RoundParts): Promise<void> {
  const { deps, place } = parts;
  // Asked after the keys of this round: never older than they are.
  if (place.keysObjects.has((await deps.keys.keysObject()).name)) return;
  await shipKeyring(parts);
  for (const { name, bytes } of await deps.keys.keysObjects()) {
    if (place.keysObjects.has(name)) continue;
    await publish(place.target, name, bytes, 'backups.wal.keys');
    place.keysObjects.add(name);
  }
}

/** The store was looked at after the position of the log was read, so every file that the log names is among what is found. */
async function shipNewFiles(parts: RoundParts, at: ShipPosition): Promise<ShipPosition> {
  const { deps, scan } = parts;
  let newest = at;
  const send = async (): Promise<void> => {
    let found = await findNew(parts, at);
    const files = dataPaths(deps.dataDir).files;
    while (found.length > 0) {
      const { signal, answered } = parts;
      const where = { ...parts.place, files, now: deps.clock.now(), signal, answered };
      try {
        const { contents, ...record } = await shipBornFiles(where, deps.state.nextBorn(), found);
        newest = { ...newest, born: record.number };
        deps.state.bornShipped(newest, record, contents);
        crashPoint('backups.wal.born.recorded');
        found = found.slice(contents.length);
      } catch (error) {
        for (const content of found) scan.again(content.slice(0, 2));
        throw error;
      }
    }
  };
  // What is deleted meanwhile stays until it was sent.
  await withSharedLockOn(parts.source.client, 'fileCollection', parts.signal, send);
  return newest;
}

/** A look that fails in its middle has taken nothing in: the next one reads the same folders again. */
async function findNew({ deps, scan, answered }: RoundParts, at: ShipPosition): Promise<string[]> {
  const found: string[] = [];
  const looked: string[] = [];
  try {
    for await (const { folder, contents } of scan.look()) {
      looked.push(folder);
      answered();
      const known = deps.state.known(at.targetId, folder);
      const present = new Set(contents);
      deps.state.unlearn(
        at.targetId,
        [...known].filter((content) => !present.has(content)),
      );
      found.push(...contents.filter((content) => !known.has(content)));
    }
    return found;
  } catch (error) {
    for (const folder of looked) scan.again(folder);
    throw error;
  }
}

/** Composed after the position of the log was read: it has the key of every row before that. */
async function shipKeyring({ deps, place }: RoundParts): Promise<KeyringState> {
  const { target, keyring } = place;
  const { epoch, objects } = await deps.keys.keyringObjects([...keyring]);
  for (const { name, bytes } of objects) {
    await publish(target, name, bytes, 'backups.wal.keyring');
    keyring.add(name);
  }
  const ofEpoch = [...keyring]
    .map((name) => ({ name, parsed: parseKeyringName(name) }))
    .filter(({ parsed }) => parsed?.epoch === epoch)
    .sort((a, b) => (a.parsed?.addition ?? 0) - (b.parsed?.addition ?? 0));
  const base = ofEpoch.filter(({ parsed }) => parsed?.addition === 0);
  const last = ofEpoch.at(-1)?.parsed?.addition ?? 0;
  const additions = ofEpoch.filter(({ parsed }) => last > 0 && parsed?.addition === last);
  return { epoch: String(epoch), objects: [...base, ...additions].map(({ name }) => name) };
}

async function shipPiece(parts: RoundParts, at: ShipPosition, keyring: KeyringState): Promise<ShipPosition> {
  const { deps, place, source } = parts;
  const { now } = source;
  const to = endOfPiece(at, now.flushed);
  const range = { timeline: at.timeline, segmentBytes: at.segmentBytes, from: at.position, to };
  const bytes = await readWalBytes(source.client, range);
  // A piece that ends before `now` is complete as soon as the whole is: what comes between may have been committed earlier.
  const completeAt = to === now.flushed ? now.at : at.completeAt;
  const piece: WalPiece = {
    ...{ number: at.number + 1, systemId: at.systemId, timeline: at.timeline, life: at.life },
    segmentBytes: at.segmentBytes,
    ...{ from: formatLsn(at.position), to: formatLsn(to), completeAt: completeAt.toISOString() },
    previous: at.previous,
    gap:
      at.gap === null
        ? null
        : {
            from: at.gap.from === null ? null : formatLsn(at.gap.from),
            since: at.gap.since?.toISOString() ?? null,
            reason: at.gap.reason,
          },
    keyring,
    bornFiles: at.born,
  };
  const plaintext = await encodeWalPiece(place.keys.repositoryId, piece, bytes, place.keys);
  const stored = await sealObject(plaintext, place.keys);
  const intent = {
    ...{ number: piece.number, systemId: at.systemId, timeline: at.timeline, life: at.life },
    ...{ from: at.position, to },
    ...{ atMs: completeAt.getTime(), sha256: sha256Of(stored), storedBytes: stored.length },
  };
  deps.state.save({ ...at, intent });
  crashPoint('backups.wal.intended');
  await publish(place.target, walPieceName(intent), stored, 'backups.wal.piece');
  const after = afterPiece(at, intent);
  deps.state.shipped(
    after,
    intent,
    markOf({ timeline: at.timeline, segmentBytes: at.segmentBytes, to }, bytes),
  );
  crashPoint('backups.wal.recorded');
  return after;
}

function afterPiece(at: ShipPosition, piece: NonNullable<ShipPosition['intent']>): ShipPosition {
  return {
    ...at,
    position: piece.to,
    completeAt: new Date(piece.atMs),
    number: piece.number,
    previous: piece.sha256,
    gap: null,
    intent: null,
  };
}

/** At most so long, and never over the end of one of PostgreSQL's segments. */
function endOfPiece({ position, segmentBytes }: ShipPosition, flushed: bigint): bigint {
  const segment = BigInt(segmentBytes);
  const ends = [(position / segment + 1n) * segment, position + BigInt(MAX_PIECE_BYTES), flushed];
  return ends.reduce((least, end) => (end < least ? end : least));
}
