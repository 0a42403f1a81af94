/** What shipping keeps in memory for each target: its shipper, the round that is under way, and how it went. */
import { setTimeout as delay } from 'node:timers/promises';
import type { ClientBase } from 'pg';
import type { DatabaseAddress } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import type { TargetRow } from '../queries.ts';
import type { Round } from './round.ts';
import type { ShipPosition, ShipReport, ShipState } from './ship-state.ts';
import { createTargetShipper, type ShipDeps, type TargetShipper } from './ship-target.ts';

/** When this process ends, or does not want the target any more. */
const LEAVE_AFTER_MS = 5_000;

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

export interface Scene {
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

export interface Lane {
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

export function laneOf(scene: Scene, row: TargetRow): Lane {
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

export async function endLane(scene: Scene, id: string, lane: Lane): Promise<void> {
  scene.lanes.delete(id);
  await endRounds([lane], stopping());
  await lane.shipper.close().catch(() => undefined);
  scene.state.forget(id);
}

/** A stretch that the next piece continues; the other ones were given up, or are of a life that has ended. */
export function goesOn(state: ShipState, at: ShipPosition | undefined): at is ShipPosition {
  return at !== undefined && at.timeline !== 0 && at.life === state.life();
}

/** Asks them to end, and waits a little for it. */
export async function endRounds(lanes: Iterable<Lane>, reason: HoldfastError): Promise<void> {
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

export function stopping(): HoldfastError {
  return new HoldfastError('cancelled', 'Shipping to this target ends');
}

/** Nothing but the snapshot is waited for that takes it over after a release, also of a recovered appliance. */
export function mayBegin({ row, isUntaken }: Lane): boolean {
  return isUntaken && row.last_ok_at !== null;
}

/** Nothing was stored there yet, or a recovered or released appliance has not taken it over yet: the next snapshot does. */
export function isStrange({ row, isUntaken: waits }: Lane): boolean {
  return row.last_ok_at === null || row.unseen_since_recovery || waits;
}
