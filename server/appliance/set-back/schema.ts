/** Shapes of a set-back as the owner sees and asks for it. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';
import { LookAnswer } from '../host/recovery/schema.ts';
import { Reason, StartSetBackRequest } from '../host/set-back/schema.ts';

const strict = { additionalProperties: false };
const { snapshot, moment, kit } = StartSetBackRequest.properties;
/** The appliance's own name, typed by whoever confirms. */
const ConfirmedName = Type.String({ minLength: 1, maxLength: 200 });

/** A snapshot, or a later moment that is gone on to from it; which of the targets that hold it is read. */
const point = { snapshot, moment, target: Type.Optional(Id) };

export const SnapshotQuery = Type.Object(point, strict);
export const CheckSetBackBody = Type.Object({ ...point, kit }, strict);
export const AskSetBackBody = Type.Object({ ...point, reason: Reason }, strict);
export const StartSetBackBody = Type.Object(
  {
    ...{ ...point, kit },
    /** Of the console. A person's is the one that was approved. */
    reason: Type.Optional(Reason),
    name: ConfirmedName,
    acceptWarnings: Type.Optional(Type.Boolean()),
    /** It is agreed that more is lost than when it was asked for. */
    acceptMore: Type.Optional(Type.Boolean()),
  },
  strict,
);
export type StartSetBackBody = Static<typeof StartSetBackBody>;
export const UndoSetBackBody = Type.Object({ reason: Reason, name: ConfirmedName }, strict);
export type UndoSetBackBody = Static<typeof UndoSetBackBody>;
/** The reason is asked of people, for whoever approves it. */
export const DiscardSetBackBody = Type.Object({ name: ConfirmedName, reason: Type.Optional(Reason) }, strict);
export type DiscardSetBackBody = Static<typeof DiscardSetBackBody>;

/** What was written since an instant, as far as the live database says. */
export const WrittenSince = Type.Object({
  since: Instant,
  /** File versions: new files, and new content of old ones. */
  files: Type.Integer(),
  bytes: Type.Number(),
  /** Files and folders that were deleted. */
  deletions: Type.Integer(),
  /** Accounts of people that were made. */
  people: Type.Integer(),
  /** Entries of the audit log. */
  acts: Type.Integer(),
});
export type WrittenSince = Static<typeof WrittenSince>;

const orNull = <T extends Parameters<typeof Type.Union>[0][number]>(shape: T) =>
  Type.Union([shape, Type.Null()]);
const Who = Type.Object({ id: Id, name: Type.String(), email: Type.String() });

/**
 * - `open`: another administrator decides; `waiting`: there is none, and it is permitted when its time has come;
 * - `refused`, `withdrawn`, `expired`, `failed`: it was not approved;
 * - `permitted`: it may be begun; `used`: it was;
 * - `lapsed`: nobody began it in time; `taken-back`: the approval was withdrawn; `void`: what was approved is not so any more.
 */
export const SetBackRequestState = Type.Enum([
  ...(['open', 'waiting', 'refused', 'withdrawn', 'expired', 'failed'] as const),
  ...(['permitted', 'used', 'lapsed', 'taken-back', 'void'] as const),
]);
export type SetBackRequestState = Static<typeof SetBackRequestState>;

/** What was asked for last about a snapshot, and what became of it. */
export const SetBackRequest = Type.Object({
  id: Id,
  state: SetBackRequestState,
  reason: Type.String(),
  consequence: Type.String(),
  askedBy: Who,
  askedAt: Instant,
  /** While it is open. */
  decideUntil: Instant,
  /** When it is permitted by itself, for one that waits. */
  permittedAt: orNull(Instant),
  decidedBy: orNull(Who),
  decidedAt: orNull(Instant),
  decisionReason: orNull(Type.String()),
  failure: orNull(Type.String()),
  /** Until when it may be begun. */
  until: orNull(Instant),
  /** Who used the permit or took it back. */
  endedBy: orNull(Who),
  endedAt: orNull(Instant),
  /** When it was asked for. */
  lostThen: WrittenSince,
  /** More is lost now, which must be agreed to. */
  grown: Type.Boolean(),
  /** Whether this person may take request or permit back. */
  canWithdraw: Type.Boolean(),
});
export type SetBackRequest = Static<typeof SetBackRequest>;

const Barrier = Type.Object({ message: Type.String(), hint: Type.Optional(Type.String()) });

export const SetBackPlan = Type.Object({
  applianceName: Type.String(),
  snapshot: Type.Object({
    id: Type.String(),
    number: Type.Integer(),
    takenAt: Instant,
    sizeBytes: Type.Number(),
  }),
  /** Whose data come into use, where that is later than the snapshot. */
  moment: orNull(Instant),
  /** Where it is read from. */
  target: Type.Object({ id: Id, name: Type.String() }),
  /** The page tries a kit on it before the kit leaves the browser. */
  found: Type.Pick(LookAnswer, ['repositoryId', 'keysObjects']),
  /** Goes out of use. */
  lost: WrittenSince,
  /** Whether whoever asks needs a second person: people do, the console does not. */
  needsApproval: Type.Boolean(),
  request: orNull(SetBackRequest),
  /** Why it cannot be now. */
  barrier: Type.Union([Barrier, Type.Null()]),
});
export type SetBackPlan = Static<typeof SetBackPlan>;

export const UndoPlan = Type.Object({
  applianceName: Type.String(),
  lost: WrittenSince,
  barrier: Type.Union([Barrier, Type.Null()]),
});
export type UndoPlan = Static<typeof UndoPlan>;
