/** Shapes of sessions as people see them, and of their limits. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';
import { Role, SignInMethod } from '../schema.ts';

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(shape: T) =>
  Type.Union([shape, Type.Null()]);

export const SessionItem = Type.Object({
  id: Id,
  /** Browser and system, in words. */
  device: Type.String(),
  /** At sign-in. */
  address: Nullable(Type.String()),
  /** At the last request. */
  lastAddress: Nullable(Type.String()),
  createdAt: Instant,
  /** To the minute. */
  lastUsedAt: Instant,
  authenticatedAt: Instant,
  methods: Type.Array(SignInMethod),
  /** The earlier of its two ends when nobody uses it. */
  endsAt: Instant,
  /** The one that asks. */
  current: Type.Boolean(),
});
export type SessionItem = Static<typeof SessionItem>;

export const SessionAlert = Type.Object({
  id: Id,
  kind: Type.String(),
  message: Type.String(),
  at: Instant,
  address: Nullable(Type.String()),
  device: Nullable(Type.String()),
  /** Whether sessions were ended for it. */
  ended: Type.Boolean(),
});
export type SessionAlert = Static<typeof SessionAlert>;

export const SessionList = Type.Object({
  items: Type.Array(SessionItem),
  /** That the person has not looked at. */
  alerts: Type.Array(SessionAlert),
});
export type SessionList = Static<typeof SessionList>;

export const EndedSessions = Type.Object({ ended: Type.Integer() });

const strict = { additionalProperties: false };
const RoleLimits = Type.Object(
  {
    role: Role,
    idleMinutes: Type.Integer({ minimum: 5, maximum: 480 }),
    absoluteHours: Type.Integer({ minimum: 1, maximum: 168 }),
  },
  strict,
);

export const SessionSettings = Type.Object(
  {
    limits: Type.Array(RoleLimits, { minItems: 4, maxItems: 4 }),
    /** How long a proof counts as fresh for dangerous acts. */
    proofMinutes: Type.Integer({ minimum: 1, maximum: 60 }),
    /** Whether a likely sign of theft ends sessions too, not only tells. */
    likelyTheftEnds: Type.Boolean(),
    /** Whether members and auditors need a second factor too, as administrators always do. */
    membersNeedSecondFactor: Type.Boolean(),
  },
  strict,
);
export type SessionSettings = Static<typeof SessionSettings>;
