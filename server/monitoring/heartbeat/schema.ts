/** Shapes of the call that says outside that this appliance lives. */
import { Type, type Static } from 'typebox';
import { Instant } from '../../lib/shapes.ts';
import { CallAnswer } from '../webhooks/schema.ts';

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);
const Address = Type.String({ minLength: 8, maxLength: 2048 });

const choices = {
  method: Type.Union([Type.Literal('GET'), Type.Literal('POST')]),
  everyMinutes: Type.Integer({ minimum: 1, maximum: 60 }),
  allowHttp: Type.Boolean(),
  paused: Type.Boolean(),
};

export const HeartbeatChange = Type.Object(
  {
    ...choices,
    /** Left out: it stays. May hold `{status}` (up or down) and `{message}`. */
    url: Type.Optional(Address),
    /** Left out: it stays; null: there is none. */
    failureUrl: Type.Optional(Nullable(Address)),
  },
  { additionalProperties: false },
);
export type HeartbeatChange = Static<typeof HeartbeatChange>;

export const HeartbeatReply = Type.Object({
  /** Null: none is set up. */
  heartbeat: Nullable(
    Type.Object({
      ...choices,
      /** Without what may be secret in it. */
      address: Type.String(),
      failureAddress: Nullable(Type.String()),
      /** Whether it says outside also that something is bad, or is silent then. */
      tellsDown: Type.Boolean(),
      changedAt: Instant,
      calledAt: Nullable(Instant),
      /** When it was last answered well. */
      answeredAt: Nullable(Instant),
      toldState: Nullable(Type.Union([Type.Literal('up'), Type.Literal('down')])),
      answer: Nullable(CallAnswer),
      failingSince: Nullable(Instant),
    }),
  ),
  /** This appliance may be a copy of another: it calls nobody. */
  held: Type.Boolean(),
});
export type HeartbeatReply = Static<typeof HeartbeatReply>;
