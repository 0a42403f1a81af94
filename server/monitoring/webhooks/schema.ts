/** Shapes of receivers of events, and of what was sent to them. */
import { Type, type Static } from 'typebox';
import { Cursor, Id, Instant } from '../../lib/shapes.ts';
import { AlertState } from '../schema.ts';

const strict = { additionalProperties: false };
const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

/** What is said of a call. */
export const CallAnswer = Type.Object({
  status: Nullable(Type.Integer()),
  message: Type.String(),
  hint: Nullable(Type.String()),
  tookMs: Type.Integer(),
});
export type CallAnswer = Static<typeof CallAnswer>;

export const WebhookEvent = Type.Union([
  Type.Literal('alert.raised'),
  Type.Literal('alert.worsened'),
  Type.Literal('alert.reminded'),
  Type.Literal('alert.acknowledged'),
  Type.Literal('alert.ended'),
  Type.Literal('snapshot.stored'),
]);
export type WebhookEvent = Static<typeof WebhookEvent>;

const choices = {
  name: Type.String({ minLength: 1, maxLength: 60 }),
  allowHttp: Type.Boolean(),
  events: Type.Array(WebhookEvent, { minItems: 1, maxItems: 6, uniqueItems: true }),
  /** Alerts from this state on. */
  least: AlertState,
  paused: Type.Boolean(),
};
const Address = Type.String({ minLength: 8, maxLength: 2048 });

export const WebhookDraft = Type.Object({ ...choices, url: Address }, strict);
export type WebhookDraft = Static<typeof WebhookDraft>;
/** Without an address it stays. */
export const WebhookChange = Type.Object({ ...choices, url: Type.Optional(Address) }, strict);
export type WebhookChange = Static<typeof WebhookChange>;

const DeliveryState = Type.Union([
  Type.Literal('queued'),
  Type.Literal('delivered'),
  /** Given up. */
  Type.Literal('failed'),
]);

export const Delivery = Type.Object({
  /** The header `webhook-id`: the same at every try. */
  id: Id,
  event: Type.String(),
  title: Type.String(),
  state: DeliveryState,
  attempts: Type.Integer(),
  createdAt: Instant,
  lastAttemptAt: Nullable(Instant),
  nextAttemptAt: Nullable(Instant),
  endedAt: Nullable(Instant),
  answer: Nullable(CallAnswer),
});
export type Delivery = Static<typeof Delivery>;

export const Webhook = Type.Object({
  id: Id,
  ...choices,
  /** Without what may be secret in it. */
  address: Type.String(),
  createdAt: Instant,
  /** Until when the secret before the present one signs too. */
  oldSecretUntil: Nullable(Instant),
  waiting: Type.Integer(),
  last: Nullable(Delivery),
});
export type Webhook = Static<typeof Webhook>;

export const WebhookList = Type.Object({ items: Type.Array(Webhook) });
/** The secret is shown here and never again. */
export const WebhookWithSecret = Type.Object({ webhook: Webhook, secret: Type.String() });
export type WebhookWithSecret = Static<typeof WebhookWithSecret>;

export const SecretChange = Type.Object(
  { overlapHours: Type.Integer({ minimum: 0, maximum: 168, description: 'So long the old one signs too' }) },
  strict,
);

export const DeliveryQuery = Type.Object({
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
});
export type DeliveryQuery = Static<typeof DeliveryQuery>;
export const DeliveryPage = Type.Object({
  items: Type.Array(Delivery),
  nextCursor: Nullable(Cursor),
});
export type DeliveryPage = Static<typeof DeliveryPage>;
