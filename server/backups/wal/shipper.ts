/**
 * Ships the write-ahead log, all the time: looks every few seconds how far the log is, and brings each target up to there when a
 * segment is full or a minute is over. Targets do not wait for each other.
 *
 * Guarantees: a replication slot keeps what a target has not got, up to a limit; then that target is given up until it is back, which
 * is declared, and a new snapshot is asked for. So no target, however long it is away, stops the appliance or fills its disk.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { writeTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { advanceSlot, dropSlot, findSlot, makeSlot, withClient } from '../../lib/postgres/index.ts';
import { listActiveTargets, type TargetRow } from '../queries.ts';
import { findReleasedAt } from '../quarantine-queries.ts';
import { readQuarantine } from '../quarantine.ts';
import { applianceId } from '../target-repository.ts';
import { askForBases } from './ask-for-bases.ts';
import { settleLife } from './life.ts';
import { pileLimit } from './pile-limit.ts';
import { getPointInTime, updatePointInTime, type PointInTimeRow } from './point-in-time-queries.ts';
import {
  endLane,
  endRounds,
  goesOn,
  isStrange,
  laneOf,
  mayBegin,
  stopping,
  type Lane,
  type Scene,
  type ShipperDeps,
  type ShipperPace,
} from './lane.ts';
import { noAnswer, startRound, type Round } from './round.ts';
import {
  measureLag,
  problemOf,
  REPORT_EVERY_MS,
  reportQuiet,
  tell,
  tellBegun,
  lacksGap,
} from './tell-lane.ts';
import { openShipState } from './ship-state.ts';
import { noteTimeOff } from './time-off.ts';
import { givenUp, type LogSource } from './ship-target.ts';

const PACE: ShipperPace = {
  ...{ lookEveryMs: 2_000, shipEveryMs: 60_000 },
  ...{ quietMs: 120_000, answerMs: 15 * 60_000, endMs: 30_000 },
};
/** Of the limit: a round that is under way may go so far, which is less than PostgreSQL's own bound. */
const BUSY_SHARE = 1.1;
const RETRY_MS = { first: 5_000, most: 60_000 };

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
  if (!scene.settled) await noteTimeOff(deps, client);
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
  // The snapshot that takes over is the base of what is shipped then, so that no second one is needed: the stretch begins before it.
  const begun = untaken.filter((id) => goesOn(state, state.find(id)));
  // Where one has a snapshot since, the others are caught up by themselves.
  const isAnyTaken = untaken.length < rows.length;
  if (begun.length > 0 || untaken.length === 0 || isAnyTaken)
    await askForBases(scene.deps, settings, state, isAnyTaken ? [] : begun);
}

/** It was off: nobody has looked since whether the history went on. */
async function nameSlot({ deps, state }: Scene): Promise<string> {
  state.renewLife(state.life());
  const { repository } = await deps.keys.status();
  const name = `holdfast_wal_${(repository.repositoryId ?? '').slice(0, 8)}`;
  await writeTransaction(deps.db, (tx) => updatePointInTime(tx, { slot: name }));
  return name;
}

function isOver(scene: Scene, lane: Lane, { now }: LogSource, limit: number): boolean {
  const at = scene.state.find(lane.row.id);
  return goesOn(scene.state, at) && now.flushed - at.position > BigInt(Math.floor(limit));
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

/** Since a person has released this appliance: the target holds it for the one that it was. */
function isUntaken({ last_ok_at: lastOkAt }: TargetRow, released: Date | undefined): boolean {
  return released !== undefined && lastOkAt !== null && lastOkAt < released;
}

function isDue(scene: Scene, lane: Lane, { now }: LogSource): boolean {
  const nowMs = scene.deps.clock.monotonicMs();
  if (lane.round !== undefined || nowMs < lane.notBeforeMs) return false;
  const at = scene.state.find(lane.row.id);
  if (isStrange(lane)) return mayBegin(lane) && !goesOn(scene.state, at);
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
    tell(scene, lane, source, isStrange(lane) ? 'waiting' : 'shipping', null);
  } catch (error) {
    if (scene.signal.aborted || round.reason()?.code === 'cancelled') return;
    lane.failures++;
    const waitMs = Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** (lane.failures - 1));
    lane.notBeforeMs = deps.clock.monotonicMs() + Math.min(waitMs, scene.pace.shipEveryMs);
    const stopped =
      error instanceof HoldfastError &&
      ['wrong_state', 'locked', 'wrong_key', 'needs_kit'].includes(error.code);
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
    const own = { ...source, client };
    const acting = isStrange(lane)
      ? lane.shipper.begin(own, round.answered)
      : lane.shipper.ship(own, signal, round.answered);
    return acting.then(
      () => undefined,
      // Not taken for the database's: a target may say the same words.
      (reason: unknown) => ({ reason }),
    );
  });
  if (failed !== undefined) throw failed.reason;
}

/** Targets that were given up, or never began, keep nothing. */
function leastPosition({ state }: Scene, flushed: bigint): bigint {
  return state
    .list()
    .filter((at) => goesOn(state, at))
    .reduce((least, at) => (at.position < least ? at.position : least), flushed);
}
