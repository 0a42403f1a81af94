/** Point in time as the API tells it: the setting, how far each target is, and what can be restored. */
import { Type, type Static } from 'typebox';
import { Id, Instant, Problem } from '../../lib/shapes.ts';

const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(type: T) =>
  Type.Union([type, Type.Null()]);

export const PointInTimeChange = Type.Object({
  enabled: Type.Boolean(),
  /** How far back a moment may be chosen. */
  windowDays: Type.Integer({ minimum: 1, maximum: 7 }),
  /** Beyond this age of the newest shipped commit there is an alert. */
  objectiveSeconds: Type.Integer({ minimum: 60, maximum: 86_400 }),
  /** What may pile up for a target that is away; null: a tenth of the disk, at most 16 GiB. */
  pileLimitBytes: nullable(Type.Integer({ minimum: 64 * 1024 ** 2, maximum: 1024 ** 4 })),
});
export type PointInTimeChange = Static<typeof PointInTimeChange>;

const RestoreWindow = Type.Object({
  from: Instant,
  to: Instant,
  fromLsn: Type.String(),
  toLsn: Type.String(),
  /** Snapshots in it, oldest first. */
  bases: Type.Array(Type.Object({ snapshotId: Type.String(), number: Type.Integer(), takenAt: Instant })),
});
export type RestoreWindow = Static<typeof RestoreWindow>;

const Gap = Type.Object({
  reason: Type.String(),
  since: nullable(Instant),
  /** Null while it goes on. */
  until: nullable(Instant),
});

export const TargetShipping = Type.Object({
  targetId: Id,
  name: Type.String(),
  location: Type.String(),
  /** `silent`: it is on, and the process that ships has not been heard of for minutes. */
  state: Type.Union([
    Type.Literal('off'),
    Type.Literal('shipping'),
    Type.Literal('away'),
    Type.Literal('waiting'),
    Type.Literal('stopped'),
    Type.Literal('silent'),
  ]),
  since: nullable(Instant),
  /** What was committed before is on the target. */
  completeAt: nullable(Instant),
  /** Measured RPO. Here and below time in which the database was off does not count: nothing was committed in it. */
  lagSeconds: nullable(Type.Number()),
  /** Measured at each look, the worst of the last day and week; null while nothing was measured. */
  worstDaySeconds: nullable(Type.Number()),
  worstWeekSeconds: nullable(Type.Number()),
  /** It lies on the disk of the data, and is lost with it. */
  sameDisk: Type.Boolean(),
  /** Beyond the objective. */
  late: Type.Boolean(),
  pendingBytes: Type.Number(),
  pieces: Type.Integer(),
  storedBytes: Type.Number(),
  /** A snapshot is needed before anything can be restored from what is shipped now. */
  needsBase: Type.Boolean(),
  /** Each with the first and the last moment that can be chosen. */
  windows: Type.Array(RestoreWindow),
  /** All that was committed before is in the newest moment; later than that one while nothing is committed. */
  coveredUntil: nullable(Instant),
  gaps: Type.Array(Gap),
  problem: nullable(Problem),
});
export type TargetShipping = Static<typeof TargetShipping>;

/** What would be lost with this machine now. */
export const MeasuredLoss = Type.Object({
  /**
   * `off`: the log is not shipped, so nothing between snapshots is measured. `nothing-yet`: it is shipped, and no target can restore a
   * moment from it yet.
   */
  state: Type.Union([Type.Literal('measured'), Type.Literal('off'), Type.Literal('nothing-yet')]),
  /** So old is what the newest moment that a target can restore has all of; time in which the database was off does not count. */
  seconds: nullable(Type.Number()),
  targetName: nullable(Type.String()),
  /** Only what lies on the disk of the data itself can restore it. */
  sameDisk: Type.Boolean(),
  objectiveSeconds: Type.Integer(),
});
export type MeasuredLoss = Static<typeof MeasuredLoss>;

export const PointInTimeStatus = Type.Object({
  ...PointInTimeChange.properties,
  /** What holds now. */
  pileLimitInForceBytes: Type.Number(),
  changedAt: nullable(Instant),
  targets: Type.Array(TargetShipping),
});
export type PointInTimeStatus = Static<typeof PointInTimeStatus>;
