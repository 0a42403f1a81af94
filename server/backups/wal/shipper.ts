/**
 * Ships the write-ahead log, all the time: looks every few seconds how far the log is, and brings each target up to there when a
 * segment is full or a minute is over. Targets do not wait for each other.
 *
 * Guarantees: a replication slot keeps what a target has not got, up to a limit; then that target is given up until it is back, which
 * is declared, and a new snapshot is asked for. So no target, however long it is away, stops the appliance or fills its disk.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { ClientBase } from 'pg';
import { recordAudit, systemActor } from '../../audit/index.ts';
import { writeTransaction, type DatabaseAddress } from '../../lib/db.ts';
import { HoldfastError, messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import {
  advanceSlot,
  dropSlot,
  findSlot,
  formatLsn,
  makeSlot,
  withClient,
} from '../../lib/postgres/index.ts';
import { listActiveTargets, type TargetRow } from '../queries.ts';
import { findReleasedAt } from '../quarantine-queries.ts';
import { readQuarantine } from '../quarantine.ts';
import { applianceId } from '../target-repository.ts';
import { askForBases } from './ask-for-bases.ts';
import { settleLife } from './life.ts';
import { pileLimit } from './pile-limit.ts';
import {
  deleteGapsBefore,
  getPointInTime,
  insertGap,
  listGaps,
  updatePointInTime,
  type PointInTimeRow,
} from './point-in-time-queries.ts';
import { noAnswer, startRound, type Round } from './round.ts';
import { openShipState, type ShipPosition, type ShipReport, type ShipState } from './ship-state.ts';
import {
  createTargetShipper,
  givenUp,
  type LogSource,
  type ShipDeps,
  type TargetShipper,
} from './ship-target.ts';

export interface ShipperDeps extends Omit<ShipDeps, 'state'> {
  /** May copy the cluster and use replication slots. */
  adminAddress: DatabaseAddress;
  log: Logger;
}

export interface ShipperPace {
  lookEveryMs: number;
  /** A piece that is not full waits at most so long. */
  shipEveryMs: number;
  /** A target that answers nothing for so long is told to be away. */
  quietMs: number;
  /** And after so long its round is left to itself: what a slow line takes for the largest object that is written at once. */
  answerMs: number;
  /** The same after it was asked to end. */
  endMs: number;
}

const PACE: ShipperPace = {
  ...{ lookEveryMs: 2_000, shipEveryMs: 60_000 },
  ...{ quietMs: 120_000, answerMs: 15 * 60_000, endMs: 30_000 },
};
/** When this process ends, or does not want the target any more. */
const LEAVE_AFTER_MS = 5_000;
/** What people are shown may be so old while nothing happens. */
const REPORT_EVERY_MS = 30_000;
/** What is older is in the audit log. */
const GAPS_KEPT_MS = 90 * 86_400_000;
/** Of the limit: a round that is under way may go so far, which is less than PostgreSQL's own bound. */
const BUSY_SHARE = 1.1;
const RETRY_MS = { first: 5_000, most: 60_000 };
/** Pieces, in the audit log. */
const MOST_NAMED = 20;
const actor = systemActor('log shipping');

interface Lane {
  row: TargetRow;
  shipper: TargetShipper;
  /** By a snapshot, after a release. */
  isUntaken: boolean;
  /** Of which state of the row the shipper was made. */
  madeOf: string;
  busy: Promise<void> | undefined;
  /** Under way, or left and not over yet. */
  round: Round | undefined;
  pendingSinceMs: number | undefined;
  failures: number;
  /** What this stretch began with is in the tables. */
  told: boolean;
  notBeforeMs: number;
  reportedMs: number;
  report: ShipReport | undefined;
  /** Everything was there at the last look of which this holds. */
  wholeAt: Date | undefined;
  /** How far behind it was at worst since that was last kept. */
  worstMs: number;
}

/** Ends when it is switched off (`off`) or `signal` says so. @throws what the database says when it goes away */
export async function runShipper(
  deps: ShipperDeps,
  signal: AbortSignal,
  change: Partial<ShipperPace> = {},
): Promise<'off' | 'stopped'> {
  const pace = { ...PACE, ...change };
  const state = openShipState(deps.dataDir);
  const lanes = new Map<string, Lane>();
  try {
    return await withClient(deps.adminAddress, 'holdfast wal', async (client) => {
      const scene = {
        deps: { ...deps, state },
        adminDeps: deps,
        state,
        client,
        lanes,
        signal,
        pace,
        settled: false,
      };
      while (!signal.aborted) {
        const settings = await getPointInTime(deps.db);
        if (!settings.enabled) {
          await switchOff(scene, settings);
          return 'off';
        }
        await look(scene, settings);
        await delay(pace.lookEveryMs, undefined, { signal }).catch(() => undefined);
      }
      return 'stopped';
    });
  } finally {
    await endRounds(lanes.values(), stopping());
    for (const lane of lanes.values()) await lane.shipper.close().catch(() => undefined);
    state.close();
  }
}

interface Scene {
  deps: ShipDeps;
  adminDeps: ShipperDeps;
  state: ShipState;
  client: ClientBase;
  lanes: Map<string, Lane>;
  signal: AbortSignal;
  pace: ShipperPace;
  /** What PostgreSQL has was compared with what was shipped. */
  settled: boolean;
}

/** Where it was is forgotten on purpose: what is committed meanwhile is a gap, and declared as one. */
async function switchOff(scene: Scene, settings: PointInTimeRow): Promise<void> {
  const { deps, client, state, lanes } = scene;
  await endRounds(lanes.values(), stopping());
  for (const at of state.list()) if (at.timeline !== 0) state.save(givenUp(at, 'switched-off'));
  if (settings.slot !== null) await dropSlot(client, settings.slot);
  await writeTransaction(deps.db, (tx) => updatePointInTime(tx, { slot: null }));
}

async function look(scene: Scene, settings: PointInTimeRow): Promise<void> {
  const { deps, client, lanes, state } = scene;
  const slot = settings.slot ?? (await nameSlot(scene));
  const kept = (await findSlot(client, slot)) ?? (await makeSlot(client, slot));
  const now = await settleLife(state, client, await applianceId(deps.db), !scene.settled);
  scene.settled = true;
  const source: LogSource = { client, now, kept };
  const rows = await listActiveTargets(deps.db);
  for (const [id, lane] of lanes) if (!rows.some((row) => row.id === id)) await endLane(scene, id, lane);
  for (const at of state.list()) if (!rows.some((row) => row.id === at.targetId)) state.forget(at.targetId);
  const released = (await readQuarantine(deps.db)) === undefined ? await findReleasedAt(deps.db) : undefined;
  const untaken = rows.filter((row) => isUntaken(row, released)).map((row) => row.id);
  const limit = await pileLimit(deps.dataDir, settings, client);
  for (const row of rows) {
    const lane = laneOf(scene, row);
    lane.isUntaken = untaken.includes(row.id);
    measureLag(scene, lane, source);
    if (lane.busy !== undefined) {
      // PostgreSQL's own bound is near, and would take the log of all targets.
      if (isOver(scene, lane, source, limit * BUSY_SHARE)) lane.round?.abort(tooSlow());
      watchRound(scene, lane, source);
      continue;
    }
    boundPile(scene, lane, source, limit);
    if (isDue(scene, lane, source))
      lane.busy = work(scene, lane, source).finally(() => (lane.busy = undefined));
    else reportQuiet(scene, lane, source);
  }
  // A stretch that is just beginning has no position yet, and begins at one that was read before.
  const beginning = [...lanes.values()].some(
    (lane) => lane.busy !== undefined && !goesOn(state, state.find(lane.row.id)),
  );
  // The last byte that every target has stays: what was shipped can be known again by it.
  if (!beginning) await advanceSlot(client, slot, leastPosition(scene, now.flushed) - 1n);
  // Where one has a snapshot since, the others are caught up by themselves.
  await askForBases(scene.deps, settings, state, untaken.length === rows.length ? untaken : []);
}

/** It was off: nobody has looked since whether the history went on. */
async function nameSlot({ deps, state }: Scene): Promise<string> {
  state.renewLife(state.life());
  const { repository } = await deps.keys.status();
  const name = `holdfast_wal_${(repository.repositoryId ?? '').slice(0, 8)}`;
  await writeTransaction(deps.db, (tx) => updatePointInTime(tx, { slot: name }));
  return name;
}

function laneOf(scene: Scene, row: TargetRow): Lane {
  const { lanes, deps } = scene;
  const known = lanes.get(row.id);
  if (known?.madeOf === row.version) return known;
  if (known !== undefined) {
    known.row = row;
    if (known.round !== undefined) return known;
    // Its sign-in or place may be another now.
    void known.shipper.close().catch(() => undefined);
  }
  const lane: Lane = {
    ...{ row, shipper: createTargetShipper(deps, row), madeOf: row.version, isUntaken: false },
    ...{ busy: undefined, round: undefined },
    pendingSinceMs: undefined,
    ...{
      failures: 0,
      told: known?.told ?? false,
      notBeforeMs: 0,
      reportedMs: -Infinity,
      report: known?.report,
      wholeAt: known?.wholeAt,
      worstMs: known?.worstMs ?? 0,
    },
  };
  lanes.set(row.id, lane);
  return lane;
}

async function endLane(scene: Scene, id: string, lane: Lane): Promise<void> {
  scene.lanes.delete(id);
  await endRounds([lane], stopping());
  await lane.shipper.close().catch(() => undefined);
  scene.state.forget(id);
}

/** A stretch that the next piece continues; the other ones were given up, or are of a life that has ended. */
function goesOn(state: ShipState, at: ShipPosition | undefined): at is ShipPosition {
  return at !== undefined && at.timeline !== 0 && at.life === state.life();
}

function isOver(scene: Scene, lane: Lane, { now }: LogSource, limit: number): boolean {
  const at = scene.state.find(lane.row.id);
  return goesOn(scene.state, at) && now.flushed - at.position > BigInt(Math.floor(limit));
}

/** Asks them to end, and waits a little for it. */
async function endRounds(lanes: Iterable<Lane>, reason: HoldfastError): Promise<void> {
  const busy = [...lanes].filter((lane) => lane.busy !== undefined);
  for (const lane of busy) lane.round?.abort(reason);
  const ended = Promise.all(busy.map(async (lane) => lane.busy));
  const waited = new AbortController();
  await Promise.race([ended, delay(LEAVE_AFTER_MS, undefined, { signal: waited.signal })]).catch(
    () => undefined,
  );
  waited.abort();
  for (const lane of busy) lane.round?.leave();
  await ended;
}

/** One that hangs is told soon, and left to itself when it is sure, or when it was asked to end and does not. */
function watchRound(scene: Scene, lane: Lane, source: LogSource): void {
  const { round } = lane;
  if (round === undefined) return;
  const { quietMs, answerMs, endMs } = scene.pace;
  const quiet = round.quietMs();
  if (quiet >= answerMs || (round.abortedMs() ?? 0) >= endMs) return round.leave();
  const isHanging = quiet >= quietMs;
  const isNew = isHanging && lane.report?.state !== 'away';
  if (!isNew && scene.deps.clock.monotonicMs() - lane.reportedMs < REPORT_EVERY_MS) return;
  if (isHanging) tell(scene, lane, source, 'away', problemOf(noAnswer()));
  else tell(scene, lane, source, lane.report?.state ?? 'shipping', lane.report?.problem ?? null);
}

function stopping(): HoldfastError {
  return new HoldfastError('cancelled', 'Shipping to this target ends');
}

function tooSlow(): HoldfastError {
  return new HoldfastError('unavailable', 'It takes the log more slowly than it is written', {
    hint: 'What piled up for it is given up. Shipping begins anew by itself, with a gap.',
  });
}

/** Only while nothing is on its way: one that catches up has a little more time. */
function boundPile(scene: Scene, lane: Lane, source: LogSource, limit: number): void {
  if (!isOver(scene, lane, source, limit)) return;
  lane.shipper.giveUp('away');
  scene.adminDeps.log.warn(
    { target: lane.row.id, limit },
    'Too much of the log piled up for a target: it is given up until it is back',
  );
}

/** Nothing was stored there yet, or a recovered or released appliance has not taken it over yet: the next snapshot does. */
function isStrange({ row, isUntaken: waits }: Lane): boolean {
  return row.last_ok_at === null || row.unseen_since_recovery || waits;
}

/** Since a person has released this appliance: the target holds it for the one that it was. */
function isUntaken({ last_ok_at: lastOkAt }: TargetRow, released: Date | undefined): boolean {
  return released !== undefined && lastOkAt !== null && lastOkAt < released;
}

/** What was committed so long ago may not be there yet. By the database's clock; a look without anything new counts as now. */
function measureLag({ state }: Scene, lane: Lane, { now }: LogSource): void {
  const at = state.find(lane.row.id);
  if (at === undefined) return;
  if (goesOn(state, at) && at.position >= now.flushed) lane.wholeAt = now.at;
  const since = Math.max(at.completeAt.getTime(), lane.wholeAt?.getTime() ?? 0);
  lane.worstMs = Math.max(lane.worstMs, now.at.getTime() - since);
}

function isDue(scene: Scene, lane: Lane, { now }: LogSource): boolean {
  const nowMs = scene.deps.clock.monotonicMs();
  if (lane.round !== undefined || isStrange(lane) || nowMs < lane.notBeforeMs) return false;
  const at = scene.state.find(lane.row.id);
  // A stretch begins, or goes on after a failure or a start of this process, at once.
  if (!goesOn(scene.state, at) || lane.failures > 0) return true;
  if (now.flushed <= at.position) {
    lane.pendingSinceMs = undefined;
    return false;
  }
  lane.pendingSinceMs ??= nowMs;
  const segment = BigInt(now.segmentBytes);
  return (
    now.flushed / segment > at.position / segment || nowMs - lane.pendingSinceMs >= scene.pace.shipEveryMs
  );
}

async function work(scene: Scene, lane: Lane, source: LogSource): Promise<void> {
  const { deps, state } = scene;
  const before = state.find(lane.row.id);
  const { round, done, over } = startRound(deps.clock, (begun) => shipOnce(scene, lane, source, begun));
  lane.round = round;
  void over.then(() => (lane.round = undefined));
  try {
    await done;
    lane.failures = 0;
    lane.pendingSinceMs = undefined;
    const after = state.find(lane.row.id);
    const isNew = after !== undefined && after.startAt.getTime() !== before?.startAt.getTime();
    if (isNew || (!lane.told && (await lacksGap(scene, after)))) await tellBegun(scene, lane);
    lane.told = true;
    tell(scene, lane, source, 'shipping', null);
  } catch (error) {
    if (scene.signal.aborted || round.reason()?.code === 'cancelled') return;
    lane.failures++;
    const waitMs = Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** (lane.failures - 1));
    lane.notBeforeMs = deps.clock.monotonicMs() + Math.min(waitMs, scene.pace.shipEveryMs);
    const stopped =
      error instanceof HoldfastError && ['wrong_state', 'locked', 'wrong_key'].includes(error.code);
    tell(scene, lane, source, stopped ? 'stopped' : 'away', problemOf(round.reason() ?? error));
    scene.adminDeps.log.warn(
      { err: error, target: lane.row.id, failures: lane.failures },
      'The log was not shipped; it is tried again',
    );
  }
}

/** On a connection of its own: what one target waits for holds up neither the others nor the looks. */
async function shipOnce(scene: Scene, lane: Lane, source: LogSource, round: Round): Promise<void> {
  const signal = AbortSignal.any([scene.signal, round.signal]);
  const failed = await withClient(scene.adminDeps.adminAddress, 'holdfast wal round', (client) => {
    // The lock that it has by this connection keeps deleted files from being collected; a server's connection ends what waits for it.
    round.onLeft(() => void Promise.all([client.end(), lane.shipper.close()]).catch(() => undefined));
    return lane.shipper.ship({ ...source, client }, signal, round.answered).then(
      () => undefined,
      // Not taken for the database's: a target may say the same words.
      (reason: unknown) => ({ reason }),
    );
  });
  if (failed !== undefined) throw failed.reason;
}

/** The process may have ended between beginning and telling. */
async function lacksGap({ deps }: Scene, at: ShipPosition | undefined): Promise<boolean> {
  if (at?.lastGap == null) return false;
  const told = await listGaps(deps.db, at.startAt);
  return !told.some((gap) => gap.target_id === at.targetId && gap.until.getTime() === at.startAt.getTime());
}

/** A new stretch, and the gap before it: told once, in the table and in the audit log. */
async function tellBegun({ deps, state, adminDeps }: Scene, lane: Lane): Promise<void> {
  const at = state.find(lane.row.id);
  if (at === undefined) return;
  const gap = at.lastGap;
  const foreign = lane.shipper.foreign();
  await writeTransaction(deps.db, async (tx) => {
    await deleteGapsBefore(tx, new Date(deps.clock.now().getTime() - GAPS_KEPT_MS));
    if (gap !== null) {
      await insertGap(tx, {
        ...{ targetId: lane.row.id, reason: gap.reason, since: gap.since },
        ...{
          fromLsn: gap.from === null ? null : formatLsn(gap.from),
          until: at.startAt,
          declaredAt: deps.clock.now(),
        },
      });
    }
    await recordAudit(tx, deps.clock, actor, {
      action: gap === null ? 'backups.wal.begun' : 'backups.wal.gap',
      objectType: 'target',
      objectId: lane.row.id,
      detail: {
        from: formatLsn(at.start),
        ...(gap === null ? {} : { reason: gap.reason }),
        ...(foreign.length === 0 ? {} : { foreign: foreign.length, first: foreign.slice(0, MOST_NAMED) }),
      },
    });
  });
  if (foreign.length === 0) return;
  adminDeps.log.warn(
    { target: lane.row.id, pieces: foreign.length, first: foreign.slice(0, MOST_NAMED) },
    'A target holds pieces of the log that this appliance did not write; they are left alone',
  );
}

function reportQuiet(scene: Scene, lane: Lane, source: LogSource): void {
  if (scene.deps.clock.monotonicMs() - lane.reportedMs < REPORT_EVERY_MS) return;
  if (isStrange(lane)) return tell(scene, lane, source, 'waiting', null);
  if (lane.failures === 0) tell(scene, lane, source, 'shipping', null);
  // Its round was left and is not over.
  else if (lane.round !== undefined) tell(scene, lane, source, 'away', problemOf(noAnswer()));
}

function tell(
  scene: Scene,
  lane: Lane,
  { now }: LogSource,
  state: ShipReport['state'],
  problem: ShipReport['problem'],
): void {
  const at = scene.state.find(lane.row.id);
  const lookedAt = scene.deps.clock.now().toISOString();
  const isWhole = goesOn(scene.state, at) && at.position >= now.flushed;
  if (isWhole && now.at > at.completeAt) scene.state.setComplete(lane.row.id, now.at);
  const completeAt = isWhole ? now.at : at?.completeAt;
  lane.reportedMs = scene.deps.clock.monotonicMs();
  lane.report = {
    state,
    since: lane.report?.state === state ? lane.report.since : lookedAt,
    completeAt: completeAt?.toISOString() ?? null,
    pendingBytes: goesOn(scene.state, at) ? Number(now.flushed - at.position) : 0,
    lookedAt,
    problem,
  };
  scene.state.report(lane.row.id, lane.report);
  if (at === undefined) return;
  scene.state.noteLag(lane.row.id, now.at, lane.worstMs / 1000);
  lane.worstMs = 0;
}

function problemOf(error: unknown): NonNullable<ShipReport['problem']> {
  if (!(error instanceof HoldfastError)) return { code: 'internal', message: messageOf(error).slice(0, 500) };
  const { code, message, hint } = error;
  return { code, message, ...(hint === undefined ? {} : { hint }) };
}

/** Targets that were given up, or never began, keep nothing. */
function leastPosition({ state }: Scene, flushed: bigint): bigint {
  return state
    .list()
    .filter((at) => goesOn(state, at))
    .reduce((least, at) => (at.position < least ? at.position : least), flushed);
}
