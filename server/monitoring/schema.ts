/** Shapes of alerts. */
import { Type, type Static } from 'typebox';
import { Cursor, Id, Instant } from '../lib/shapes.ts';

export const AlertState = Type.Union([Type.Literal('warn'), Type.Literal('bad')]);
export type AlertState = Static<typeof AlertState>;

export const Alert = Type.Object({
  id: Id,
  /** What is not well, such as `data disk` or `target Vault`. */
  name: Type.String(),
  state: AlertState,
  message: Type.String(),
  hint: Type.Union([Type.String(), Type.Null()]),
  /** When it was first found. */
  since: Instant,
  raisedAt: Instant,
  /** It is well again; the alert ends when it stays so. */
  clearSince: Type.Union([Instant, Type.Null()]),
  endedAt: Type.Union([Instant, Type.Null()]),
  /** How often somebody was told by mail, and when last. */
  told: Type.Integer(),
  toldAt: Type.Union([Instant, Type.Null()]),
  acknowledged: Type.Union([
    Type.Object({
      at: Instant,
      by: Type.Union([Id, Type.Null()]),
      byName: Type.Union([Type.String(), Type.Null()]),
      /** No reminder before. */
      until: Instant,
      note: Type.Union([Type.String(), Type.Null()]),
    }),
    Type.Null(),
  ]),
});
export type Alert = Static<typeof Alert>;

export const AlertQuery = Type.Object({
  state: Type.Optional(Type.Union([Type.Literal('open'), Type.Literal('ended')], { default: 'open' })),
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
});
export type AlertQuery = Static<typeof AlertQuery>;

export const AlertPage = Type.Object({
  items: Type.Array(Alert),
  total: Type.Integer(),
  nextCursor: Type.Union([Cursor, Type.Null()]),
});
export type AlertPage = Static<typeof AlertPage>;

export const Acknowledgement = Type.Object({
  note: Type.Optional(Type.String({ maxLength: 500 })),
  /** Days without reminders. */
  days: Type.Integer({ minimum: 1, maximum: 30 }),
});
export type Acknowledgement = Static<typeof Acknowledgement>;

export const AlertSettings = Type.Object({
  /** Who is told by mail: owners and administrators, owners only, or nobody. */
  recipients: Type.Union([Type.Literal('administrators'), Type.Literal('owners'), Type.Literal('nobody')]),
  /** From which state on mail is sent. */
  least: AlertState,
  /** Until somebody acknowledges it. */
  remindHours: Type.Integer({ minimum: 1, maximum: 168 }),
});
export type AlertSettings = Static<typeof AlertSettings>;
