/** Shapes of requests for approval, their states, and what is allowed in which. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';

export const ApprovalState = Type.Union([
  Type.Literal('open'),
  Type.Literal('waiting'),
  Type.Literal('executed'),
  Type.Literal('refused'),
  Type.Literal('withdrawn'),
  Type.Literal('expired'),
  Type.Literal('failed'),
]);
export type ApprovalState = Static<typeof ApprovalState>;

const Who = Type.Object({ id: Id, name: Type.String(), email: Type.String() });
const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(shape: T) =>
  Type.Union([shape, Type.Null()]);

export const Approval = Type.Object({
  id: Id,
  act: Type.String(),
  /** Of the act, for people. */
  title: Type.String(),
  objectType: Type.String(),
  objectId: OrNull(Type.String()),
  /** Of a set-back to a moment after its snapshot: which, and from which target. */
  moment: OrNull(Type.Object({ at: Instant, target: OrNull(Id) })),
  reason: Type.String(),
  consequence: Type.String(),
  /** To approve it does nothing yet: somebody may then do it, once and in time. */
  permit: Type.Boolean(),
  state: ApprovalState,
  /** People whom it is about. */
  concerns: Type.Array(Who),
  requestedBy: Who,
  requestedAt: Instant,
  expiresAt: Instant,
  /** When it runs by itself, for one that waits. */
  runsAt: OrNull(Instant),
  decidedBy: OrNull(Who),
  decidedAt: OrNull(Instant),
  decisionReason: OrNull(Type.String()),
  /** Why it could not be done. */
  failure: OrNull(Type.String()),
  /** What the person who asks may do now. */
  can: Type.Object({
    /** Approve or refuse it. */
    decide: Type.Boolean(),
    /** False where only refusing it is open to them: it is about them. */
    approve: Type.Boolean(),
    withdraw: Type.Boolean(),
  }),
});
export type Approval = Static<typeof Approval>;

export const ApprovalQuery = Type.Object(
  { state: Type.Optional(Type.Union([Type.Literal('pending'), Type.Literal('past')])) },
  { additionalProperties: false },
);
export const ApprovalList = Type.Object({
  /** The newest 500. */
  items: Type.Array(Approval),
  /** How many there are. */
  total: Type.Integer(),
});
export type ApprovalList = Static<typeof ApprovalList>;

export const Refusal = Type.Object(
  {
    reason: Type.String({
      minLength: 1,
      maxLength: 500,
      pattern: '^[^\\u0000-\\u001f\\u007f]*\\S[^\\u0000-\\u001f\\u007f]*$',
    }),
  },
  { additionalProperties: false },
);

export const ApprovalSettings = Type.Object(
  {
    /** How long another administrator has time to decide. */
    expiryHours: Type.Integer({ minimum: 1, maximum: 336 }),
    /** With a sole administrator: how long everybody has time to object. */
    waitingHours: Type.Integer({ minimum: 1, maximum: 168 }),
  },
  { additionalProperties: false },
);
export type ApprovalSettings = Static<typeof ApprovalSettings>;

const PENDING: readonly ApprovalState[] = ['open', 'waiting'];

export function isPending(state: ApprovalState): boolean {
  return PENDING.includes(state);
}
