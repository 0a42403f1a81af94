/** Shapes of retention and legal holds as the API shows them. */
import { Type, type Static } from 'typebox';
import { Id, Instant, Problem } from '../../lib/shapes.ts';
import { RetentionPolicy } from './policy.ts';

const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(shape: T) =>
  Type.Union([shape, Type.Null()]);

/** A sentence by a person. */
export const Reason = Type.String({
  minLength: 1,
  maxLength: 500,
  pattern: '^[^\\u0000-\\u001f\\u007f]*\\S[^\\u0000-\\u001f\\u007f]*$',
});
export const WithReason = Type.Object({ reason: Reason }, { additionalProperties: false });

/** A removal that people have to agree to before it is made. */
export const WaitingRemoval = Type.Object({
  why: Type.String(),
  since: Instant,
  removes: Type.Integer(),
  total: Type.Integer(),
  /** Whose logs and configuration go by themselves. */
  partsGo: Type.Optional(Type.Integer()),
  /** It waits for a word that this snapshot, which is much smaller than those before, is as it should be. */
  doubt: Type.Optional(Type.Object({ id: Type.String(), number: Type.Integer() })),
});
export type WaitingRemoval = Static<typeof WaitingRemoval>;

export const RetentionStatus = Type.Object({
  policy: RetentionPolicy,
  /** The policy in one line. */
  words: Type.String(),
  state: Type.Union([
    Type.Literal('keeps-everything'),
    /** Not carried out yet. */
    Type.Literal('new'),
    Type.Literal('applied'),
    /** It could not be carried out, and is tried again by itself. */
    Type.Literal('behind'),
    /** It would remove so much that people have to agree first. */
    Type.Literal('asks'),
  ]),
  changedAt: OrNull(Instant),
  appliedAt: OrNull(Instant),
  triedAt: OrNull(Instant),
  problem: OrNull(Problem),
  waiting: OrNull(WaitingRemoval),
  /** Older than the maximum age, and kept as one of the last until people agree that it goes. */
  overdueCount: Type.Integer(),
  /** Removed from the target so far by this policy and by hand. */
  reclaimedBytes: Type.Number(),
  /** Needed by no snapshot any more; goes a day after that was found. */
  waitingBytes: Type.Number(),
  nextPruneAt: OrNull(Instant),
  /** Until when the target itself keeps what should have gone. */
  lockedUntil: OrNull(Instant),
});
export type RetentionStatus = Static<typeof RetentionStatus>;

export const RetentionDraft = Type.Object({ policy: RetentionPolicy }, { additionalProperties: false });
export const RetentionChange = Type.Object(
  { policy: RetentionPolicy, reason: Type.Optional(Reason) },
  { additionalProperties: false },
);
export type RetentionChange = Static<typeof RetentionChange>;

export const RetentionPreview = Type.Object({
  words: Type.String(),
  /** The newest first; those beyond the first 5,000 are only counted. */
  items: Type.Array(
    Type.Object({
      id: Type.String(),
      number: Type.String(),
      takenAt: Instant,
      state: Type.Union([Type.Literal('stored'), Type.Literal('partial')]),
      keep: Type.Boolean(),
      reasons: Type.Array(Type.String()),
      overdue: Type.Boolean(),
      held: Type.Boolean(),
      proven: Type.Boolean(),
      /** Only its logs and configuration stay, until then. */
      reducedUntil: OrNull(Instant),
      /** It stays, and its logs and configuration go. */
      losesLogs: Type.Boolean(),
      /** It was reduced before: no snapshot to go back to, and not among the numbers below. */
      leftover: Type.Boolean(),
    }),
  ),
  total: Type.Integer(),
  /** Those that are reduced included: their database and files go. */
  removes: Type.Integer(),
  reduces: Type.Integer(),
  keeps: Type.Integer(),
  /** Whose logs and configuration go by themselves, out of so many. */
  partsGo: Type.Integer(),
  partsTotal: Type.Integer(),
  /** Whether any snapshot here has logs and configuration of a machine. */
  hasLogs: Type.Boolean(),
  proven: Type.Integer(),
  provenLeft: Type.Integer(),
  heldCount: Type.Integer(),
  overdueCount: Type.Integer(),
  /** What the removal frees. Not exact: at most so much, by what was written when each was taken. */
  reclaim: Type.Object({ bytes: Type.Number(), exact: Type.Boolean() }),
  /** Of a target that locks what it holds. */
  lock: OrNull(
    Type.Object({
      mode: Type.Union([Type.Literal('governance'), Type.Literal('compliance')]),
      /** For how many days things are locked now, and under this policy: the same, where the lock does not follow it. */
      days: Type.Integer(),
      daysThen: Type.Integer(),
      /** So much of what is freed stays all the same, until its lock ends. */
      heldBytes: Type.Number(),
      heldUntil: OrNull(Instant),
      /** False: at most so much, and at the latest until then. */
      exact: Type.Boolean(),
    }),
  ),
  /** Why a second person, or time to object, is needed to save this policy; null when it is not. */
  asks: OrNull(Type.String()),
});
export type RetentionPreview = Static<typeof RetentionPreview>;

/** Agreeing to what the policy removes now, overdue ones included. */
export const RemovalRequest = Type.Object(
  {
    reason: Reason,
    /** How many the person saw that go, or lose their logs and configuration: another number is refused. */
    removes: Type.Integer({ minimum: 0 }),
  },
  { additionalProperties: false },
);
export type RemovalRequest = Static<typeof RemovalRequest>;

export const SnapshotHold = Type.Object({
  reason: Type.String(),
  since: Instant,
  /** Null: somebody at the console. */
  by: OrNull(Type.Object({ id: Id, name: Type.String() })),
});
