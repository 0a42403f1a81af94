/** Shapes of mail: settings, state and log. */
import { Type, type Static } from 'typebox';
import { Cursor, Id, Instant, Problem } from '../lib/shapes.ts';

const strict = { additionalProperties: false };
const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

export const HOST_PATTERN = '^[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?$';

const choices = {
  host: Type.String({ minLength: 1, maxLength: 253, pattern: HOST_PATTERN }),
  port: Type.Integer({ minimum: 1, maximum: 65_535 }),
  security: Type.Union([Type.Literal('implicit'), Type.Literal('starttls')], {
    description: 'TLS from the first byte (usually 465), or after STARTTLS (usually 587)',
  }),
  leastTls: Type.Union([Type.Literal('1.3'), Type.Literal('1.2')]),
  caCertificates: Nullable(
    Type.String({ maxLength: 65_536, description: 'PEM; when given, only these are trusted' }),
  ),
  username: Nullable(Type.String({ minLength: 1, maxLength: 320 })),
  senderName: Type.String({ minLength: 1, maxLength: 100 }),
  senderAddress: Type.String({ minLength: 3, maxLength: 254 }),
  messagesAMinute: Type.Integer({ minimum: 1, maximum: 600 }),
  paused: Type.Boolean(),
};

export const MailSettingsChange = Type.Object(
  {
    ...choices,
    password: Type.Optional(
      Nullable(
        Type.String({
          minLength: 1,
          maxLength: 1024,
          description: 'Left out: it stays; null: it is removed',
        }),
      ),
    ),
  },
  strict,
);
export type MailSettingsChange = Static<typeof MailSettingsChange>;

export const MailSending = Type.Union([
  Type.Literal('off'),
  Type.Literal('paused'),
  Type.Literal('failing'),
  Type.Literal('ready'),
]);

export const MailStateReply = Type.Object({ state: MailSending, sends: Type.Boolean() });

export const MailSettingsReply = Type.Object({
  state: MailSending,
  /** Null: no mail server is set up. */
  settings: Nullable(Type.Object({ ...choices, passwordSet: Type.Boolean(), changedAt: Instant })),
  lastSentAt: Nullable(Instant),
  problem: Nullable(Type.Intersect([Problem, Type.Object({ at: Instant })])),
  waiting: Type.Integer(),
  sentLastDay: Type.Integer(),
  failedLastWeek: Type.Integer(),
});
export type MailSettingsReply = Static<typeof MailSettingsReply>;

export const TestRequest = Type.Object(
  { to: Type.Optional(Type.String({ minLength: 3, maxLength: 254 })) },
  strict,
);
export const TestResult = Type.Object({
  taken: Type.Boolean(),
  message: Type.String(),
  hint: Nullable(Type.String()),
  answer: Type.String({ description: "The mail server's own words" }),
});
export type TestResult = Static<typeof TestResult>;

const MailMessageState = Type.Union([
  Type.Literal('queued'),
  Type.Literal('sent'),
  Type.Literal('failed'),
  Type.Literal('cancelled'),
  Type.Literal('expired'),
  Type.Literal('unsendable'),
]);

export const MailMessage = Type.Object({
  id: Id,
  template: Type.String(),
  title: Type.String(),
  userId: Nullable(Id),
  to: Type.String({ description: 'Name of the person, or the address' }),
  state: MailMessageState,
  attempts: Type.Integer(),
  createdAt: Instant,
  lastAttemptAt: Nullable(Instant),
  nextAttemptAt: Nullable(Instant),
  expiresAt: Instant,
  endedAt: Nullable(Instant),
  /** What went wrong last, or what the server said when it took it. */
  answer: Nullable(Type.String()),
  canRetry: Type.Boolean(),
});
export type MailMessage = Static<typeof MailMessage>;

export const MailQuery = Type.Object({
  state: Type.Optional(MailMessageState),
  template: Type.Optional(Type.String({ maxLength: 64 })),
  user: Type.Optional(Id),
  from: Type.Optional(Instant),
  to: Type.Optional(Instant),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
  cursor: Type.Optional(Cursor),
});
export type MailQuery = Static<typeof MailQuery>;

export const MailPage = Type.Object({ items: Type.Array(MailMessage), nextCursor: Nullable(Type.String()) });
export type MailPage = Static<typeof MailPage>;
