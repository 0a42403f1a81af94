/** Shapes of setting this appliance back to a snapshot: what is asked, what is remembered of it on the volume, what is told. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../../lib/shapes.ts';
import { RecoveryProblem, RecoveryStatus } from '../recovery/schema.ts';
import { HostActor } from '../schema.ts';

const strict = { additionalProperties: false };
const orNull = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

const SnapshotId = Type.String({ pattern: '^[0-9a-f]{64}$' });
/** For the audit log. */
export const Reason = Type.String({ minLength: 10, maxLength: 500 });

/**
 * - `recovering`: the snapshot is recovered beside the live data, which nothing uses meanwhile;
 * - `moving-in`, `moving-back`: data folders change places, towards the snapshot's and towards those from before;
 * - `starting`, `starting-back`: the services start on what has moved in, and are waited for;
 * - `kept`: the appliance runs with the data of the snapshot, and those from before are set aside;
 * - `undone`, `failed`: it runs with those from before, and nothing is set aside;
 * - `discarded`: it runs with those of the snapshot, and nothing is set aside.
 */
export const SetBackState = Type.Union([
  Type.Literal('recovering'),
  Type.Literal('moving-in'),
  Type.Literal('starting'),
  Type.Literal('kept'),
  Type.Literal('moving-back'),
  Type.Literal('starting-back'),
  Type.Literal('undone'),
  Type.Literal('failed'),
  Type.Literal('discarded'),
]);
export type SetBackState = Static<typeof SetBackState>;

/** What a person asked for after a set-back. */
const Wish = Type.Object({ actor: HostActor, reason: Type.String({ maxLength: 500 }), at: Instant });
/** The request that was approved, and by whom; nobody where its time was waited for. Absent for the console, which needs none. */
const Approved = Type.Object({ id: Id, askedBy: Id, approvedBy: orNull(Id) });

/** The last set-back of this machine, as it lies on the data volume beside the folders. */
export const SetBackRecord = Type.Object({
  format: Type.Literal(1),
  id: Id,
  state: SetBackState,
  snapshot: Type.Object({ id: SnapshotId, number: Type.Integer(), takenAt: Instant }),
  /** A later moment that is gone on to from the snapshot, by the shipped log; absent: the snapshot as it is. */
  moment: Type.Optional(Instant),
  /** Folder of the repository. */
  place: Type.String({ maxLength: 1024 }),
  wanted: Type.Object({ ...Wish.properties, approval: Type.Optional(Approved) }),
  /** Wanted by somebody since, where one was. */
  undo: orNull(Wish),
  /** Who discarded the data from before; null while they are there. */
  discardedBy: orNull(HostActor),
  /** When the live data changed places: what was written until then is in the data from before. */
  movedAt: orNull(Instant),
  /** When it came to the state that it is in. */
  at: Instant,
  /** Until then the data from before are kept. */
  keptUntil: orNull(Instant),
  /** Bytes of the data from before; null until they are counted. */
  beforeBytes: orNull(Type.Number()),
  /** Why a set-back failed, or, with `kept`, an undoing. */
  problem: orNull(RecoveryProblem),
  /** Acts that the journal has. */
  told: Type.Array(Type.String({ maxLength: 64 }), { maxItems: 20 }),
});
export type SetBackRecord = Static<typeof SetBackRecord>;

export const SetBackView = Type.Object({
  /** Null on a machine that was never set back. */
  record: orNull(Type.Omit(SetBackRecord, ['told', 'place', 'format'])),
  status: RecoveryStatus,
});
export type SetBackView = Static<typeof SetBackView>;

const KitText = Type.String({ minLength: 32, maxLength: 65_536 });
export const HeadReference = Type.Object(
  { number: Type.Integer({ minimum: 0 }), sha256: SnapshotId },
  strict,
);

const asked = {
  actor: HostActor,
  /** Folder of the repository, below one of those where backups may lie. */
  place: Type.String({ pattern: '^/[^\\u0000-\\u001f\\u007f]{1,1000}$' }),
  kit: KitText,
  snapshot: SnapshotId,
  /** Instead of the snapshot as it is: a later moment, which is gone on to from it. */
  moment: Type.Optional(Instant),
  /** At most what the way from the snapshot to the moment takes on the disk: the log, and what was stored since. */
  laterBytes: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  /** The newest head that the appliance remembers: an older one on the target is then noticed. */
  knownHead: Type.Optional(HeadReference),
};

export const CheckSetBackRequest = Type.Object(asked, strict);
export type CheckSetBackRequest = Static<typeof CheckSetBackRequest>;

export const CheckedSetBack = Type.Object({
  /** Something about the backups; those with `confirm` must be agreed to. */
  warnings: Type.Array(Type.Object({ message: Type.String(), confirm: Type.Boolean() })),
  /** Room that it takes beside the data from before, and what there is. */
  needBytes: Type.Number(),
  freeBytes: Type.Number(),
});
export type CheckedSetBack = Static<typeof CheckedSetBack>;

export const StartSetBackRequest = Type.Object(
  {
    ...asked,
    reason: Reason,
    /** Identity that the appliance goes on with. */
    applianceId: Id,
    acceptWarnings: Type.Optional(Type.Boolean()),
    approval: Type.Optional(Approved),
  },
  strict,
);
export type StartSetBackRequest = Static<typeof StartSetBackRequest>;

export const UndoSetBackRequest = Type.Object({ actor: HostActor, reason: Reason }, strict);
export type UndoSetBackRequest = Static<typeof UndoSetBackRequest>;
