/** What is shipped to each target, how far, and which moments can be restored: from what shipping remembers, without asking a target. */
import type { Clock } from '../../lib/clock.ts';
import type { Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { formatLsn, parseLsn } from '../../lib/postgres/index.ts';
import { listActiveTargets, type TargetRow } from '../queries.ts';
import { locationOf } from '../target-config.ts';
import { hasBase } from './ask-for-bases.ts';
import { pileLimit } from './pile-limit.ts';
import { planPoint, windowsOf, type Base, type ChosenPoint, type PointPlan } from './plan-point.ts';
import {
  getPointInTime,
  listBases,
  listGaps,
  type BaseRow,
  type PointInTimeRow,
  type WalGapRow,
} from './point-in-time-queries.ts';
import type { PointInTimeStatus, TargetShipping } from './schema.ts';
import {
  readShipState,
  type ShippedPiece,
  type ShipPosition,
  type ShipReport,
  type TimeOff,
} from './ship-state.ts';
import { onTimeMs } from './time-off.ts';

const DAY_MS = 86_400_000;
/** Shipping tells how it is each half minute. */
const SILENT_MS = 150_000;

export interface PointInTimeDeps {
  db: Database;
  clock: Clock;
  dataDir: string;
}

interface TargetFacts {
  at: ShipPosition | undefined;
  report: ShipReport | undefined;
  pieces: ShippedPiece[];
  worst: { day: number | null; week: number | null };
  offs: TimeOff[];
}

export async function showPointInTime(deps: PointInTimeDeps): Promise<PointInTimeStatus> {
  const settings = await getPointInTime(deps.db);
  const targets = await listActiveTargets(deps.db);
  const bases = await listBases(deps.db);
  const gaps = await listGaps(deps.db, new Date(deps.clock.now().getTime() - 31 * DAY_MS));
  return {
    enabled: settings.enabled,
    windowDays: settings.window_days,
    objectiveSeconds: settings.objective_seconds,
    pileLimitBytes: settings.pile_limit_bytes === null ? null : Number(settings.pile_limit_bytes),
    pileLimitInForceBytes: await pileLimit(deps.dataDir, settings),
    changedAt: settings.changed_at?.toISOString() ?? null,
    targets: targets.map((row) =>
      describe(deps, settings, row, {
        ...{ facts: factsOf(deps, row.id), bases: bases.filter((base) => base.targetId === row.id) },
        gaps: gaps.filter((gap) => gap.target_id === row.id),
      }),
    ),
  };
}

function factsOf({ dataDir, clock }: PointInTimeDeps, targetId: string): TargetFacts {
  const none = { at: undefined, report: undefined, pieces: [], worst: { day: null, week: null }, offs: [] };
  const before = (days: number) => new Date(clock.now().getTime() - days * DAY_MS);
  const read = readShipState(dataDir, (view) => ({
    at: view.find(targetId),
    report: view.reports().get(targetId),
    pieces: view.pieces(targetId),
    worst: { day: view.worstLag(targetId, before(1)), week: view.worstLag(targetId, before(7)) },
    offs: view.offs(),
  }));
  return read ?? none;
}

function describe(
  deps: PointInTimeDeps,
  settings: PointInTimeRow,
  row: TargetRow,
  known: { facts: TargetFacts; bases: BaseRow[]; gaps: WalGapRow[] },
): TargetShipping {
  const { at, report, pieces, worst, offs } = known.facts;
  const now = deps.clock.now();
  const state = stateOf(settings, report, now);
  const completeAt = at?.completeAt ?? null;
  const lagSeconds =
    settings.enabled && completeAt !== null ? Math.round(onTimeMs(offs, completeAt, now) / 1000) : null;
  const windows = windowsWithin(known, settings, now);
  const isOn = at !== undefined && at.timeline !== 0;
  return {
    ...{ targetId: row.id, name: row.name, location: locationOf(row), state },
    since: report?.since ?? null,
    completeAt: completeAt?.toISOString() ?? null,
    lagSeconds,
    ...{ worstDaySeconds: worst.day, worstWeekSeconds: worst.week, sameDisk: row.same_disk },
    late: lagSeconds !== null && lagSeconds > settings.objective_seconds,
    pendingBytes: report?.pendingBytes ?? 0,
    pieces: pieces.length,
    storedBytes: pieces.reduce((sum, piece) => sum + piece.storedBytes, 0),
    needsBase: settings.enabled && isOn && !hasBase(at, known.bases, new Date(0)),
    windows,
    coveredUntil: coveredUntil(windows, known.facts),
    gaps: [
      ...(at?.gap == null || at.timeline !== 0
        ? []
        : [{ reason: at.gap.reason, since: at.gap.since?.toISOString() ?? null, until: null }]),
      ...known.gaps.map((gap) => ({
        reason: gap.reason,
        since: gap.since?.toISOString() ?? null,
        until: gap.until.toISOString(),
      })),
    ],
    problem: settings.enabled ? (report?.problem ?? null) : null,
  };
}

function stateOf(
  settings: PointInTimeRow,
  report: ShipReport | undefined,
  now: Date,
): TargetShipping['state'] {
  if (!settings.enabled) return 'off';
  const heardAt = report === undefined ? settings.changed_at : new Date(report.lookedAt);
  if (heardAt === null || now.getTime() - heardAt.getTime() > SILENT_MS) {
    // A target that is away is tried again each minute, which may take longer than that.
    return report?.state === 'away' ? 'away' : 'silent';
  }
  return report?.state ?? 'waiting';
}

function windowsWithin(
  { facts, bases }: { facts: TargetFacts; bases: BaseRow[] },
  settings: PointInTimeRow,
  now: Date,
): TargetShipping['windows'] {
  const oldest = now.getTime() - settings.window_days * DAY_MS;
  const within = bases.filter((base) => base.takenAt.getTime() >= oldest).map(toBase);
  return windowsOf(within, facts.pieces).map((window) => ({
    from: window.from.toISOString(),
    to: window.to.toISOString(),
    fromLsn: formatLsn(window.fromLsn),
    toLsn: formatLsn(window.toLsn),
    bases: window.bases.map(({ id, number, takenAt }) => ({
      ...{ snapshotId: id, number, takenAt: takenAt.toISOString() },
    })),
  }));
}

/** While nothing is committed the newest moment grows older, and nothing is lost by that. */
function coveredUntil(
  windows: TargetShipping['windows'],
  { at }: TargetFacts,
): TargetShipping['coveredUntil'] {
  const newest = Math.max(...windows.map(({ to }) => Date.parse(to)));
  if (windows.length === 0) return null;
  const goesOn = at !== undefined && at.timeline !== 0 && windows.at(-1)?.toLsn === formatLsn(at.position);
  return new Date(goesOn ? Math.max(newest, at.completeAt.getTime()) : newest).toISOString();
}

function toBase(row: BaseRow): Base {
  const { snapshotId: id, number, takenAt, systemId, timeline, life } = row;
  return { id, number, takenAt, systemId, timeline, life, endLsn: parseLsn(row.endLsn) };
}

/** From which snapshot a moment is restored. @throws HoldfastError `not_found` with the nearest moments, and the targets that reach it */
export async function findPoint(
  deps: PointInTimeDeps,
  targetId: string,
  chosen: ChosenPoint,
): Promise<PointPlan> {
  const bases = await listBases(deps.db);
  const planOn = (id: string): PointPlan =>
    planPoint(bases.filter((base) => base.targetId === id).map(toBase), factsOf(deps, id).pieces, chosen);
  try {
    return planOn(targetId);
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== 'not_found') throw error;
    const others = (await listActiveTargets(deps.db)).filter(
      ({ id }) => id !== targetId && reaches(planOn, id),
    );
    if (others.length === 0) throw error;
    const names = others.map(({ name }) => name).join(', ');
    throw new HoldfastError('not_found', error.message, {
      hint: `${error.hint ?? ''} This moment can be restored from ${names}.`.trim(),
      cause: error,
    });
  }
}

function reaches(planOn: (id: string) => PointPlan, id: string): boolean {
  try {
    planOn(id);
    return true;
  } catch {
    return false;
  }
}

/** A target that is away does not keep deleted files on this disk for longer. */
const HOLD_BACK_MS = DAY_MS;

/** Files deleted before this instant are on every target that follows the log, as long as moments before need them. */
export async function shippedUntil(deps: PointInTimeDeps): Promise<Date> {
  const now = deps.clock.now();
  if (!(await getPointInTime(deps.db)).enabled) return now;
  const positions = readShipState(deps.dataDir, (view) => view.list()) ?? [];
  const least = positions
    .filter((at) => at.timeline !== 0)
    .reduce((time, at) => Math.min(time, at.completeAt.getTime()), now.getTime());
  return new Date(Math.max(least, now.getTime() - HOLD_BACK_MS));
}

/** For the overview and for alerts: what is not as it should be. */
export async function findShippingTrouble(
  deps: PointInTimeDeps,
): Promise<{ targetName: string; state: 'warn' | 'bad'; message: string; hint: string }[]> {
  const status = await showPointInTime(deps);
  if (!status.enabled) return [];
  return status.targets.flatMap((target) => {
    const found = troubleOf(target, status);
    return found === undefined ? [] : [{ targetName: target.name, ...found }];
  });
}

function troubleOf(
  target: TargetShipping,
  status: PointInTimeStatus,
): { state: 'warn' | 'bad'; message: string; hint: string } | undefined {
  const { problem } = target;
  const hint =
    problem?.hint ?? 'See Point in time. What is committed meanwhile is kept until there is too much of it.';
  if (target.state === 'stopped') {
    return { state: 'bad', message: `The log is not shipped: ${problem?.message ?? 'it was stopped'}`, hint };
  }
  if (target.state === 'silent') {
    return {
      state: 'bad',
      message: 'The process that ships the log has not been heard of for minutes',
      hint: 'See the log of the worker; it is started again by itself.',
    };
  }
  if (target.gaps.some((gap) => gap.until === null)) {
    return {
      state: 'bad',
      message: 'It was away for so long that the log of meanwhile is given up',
      hint: 'Bring it back. Shipping begins anew by itself, with a new snapshot.',
    };
  }
  if (target.pendingBytes > status.pileLimitInForceBytes / 2) {
    return {
      state: 'bad',
      message: 'More than half of the log that may pile up for it waits to be shipped',
      hint: 'Bring it back soon, or the moments of meanwhile are lost on it.',
    };
  }
  if (target.late) {
    const minutes = Math.round((target.lagSeconds ?? 0) / 60);
    return {
      state: 'bad',
      message: `The newest change on it is ${minutes} min old; the objective is ${Math.round(status.objectiveSeconds / 60)} min`,
      hint,
    };
  }
  return undefined;
}
