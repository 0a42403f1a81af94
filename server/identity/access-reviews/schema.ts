/** Shapes of access reviews: what there is to confirm, who decides about it, and what became of it. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';
import { PersonState } from '../people/schema.ts';
import { RightName } from '../rights.ts';
import { Role } from '../schema.ts';

const strict = { additionalProperties: false };
const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(shape: T) =>
  Type.Union([shape, Type.Null()]);

/** As in a workspace. */
export const Level = Type.Union([Type.Literal('manager'), Type.Literal('editor'), Type.Literal('viewer')]);
export type Level = Static<typeof Level>;

export const ItemKind = Type.Union([
  Type.Literal('account'),
  Type.Literal('team'),
  Type.Literal('workspace'),
  Type.Literal('api-key'),
]);
export type ItemKind = Static<typeof ItemKind>;

export const Decision = Type.Union([Type.Literal('keep'), Type.Literal('change'), Type.Literal('remove')]);
export type Decision = Static<typeof Decision>;

/** What is confirmed. Which of these an item has depends on its kind. */
export const Facts = Type.Object({
  role: Type.Optional(Role),
  state: Type.Optional(PersonState),
  /** When the person was last here; sessions are known for 90 days. */
  lastSeenAt: Type.Optional(OrNull(Instant)),
  /** Second factors. */
  factors: Type.Optional(Type.Array(Type.String())),
  level: Type.Optional(Level),
  name: Type.Optional(Type.String()),
  prefix: Type.Optional(Type.String()),
  rights: Type.Optional(Type.Array(RightName)),
  networks: Type.Optional(Type.Array(Type.String())),
  expiresAt: Type.Optional(Instant),
  lastUsedAt: Type.Optional(OrNull(Instant)),
});
export type Facts = Static<typeof Facts>;

const Named = Type.Object({ id: Id, name: Type.String() });

export const ReviewItem = Type.Object({
  id: Id,
  kind: ItemKind,
  person: OrNull(Type.Object({ id: Id, name: Type.String(), email: Type.String() })),
  team: OrNull(Named),
  workspace: OrNull(Named),
  keyId: OrNull(Id),
  /** As it was when the review began. */
  facts: Facts,
  /** What is different since, in words. */
  changes: Type.Array(Type.String()),
  /** It was kept in the review before, and nothing of it has changed since. */
  unchanged: Type.Boolean(),
  decision: OrNull(
    Type.Object({
      decision: Decision,
      by: Named,
      at: Instant,
      note: Type.String(),
      /** What was done. */
      outcome: Type.String(),
      inBulk: Type.Boolean(),
      auditEntries: Type.Array(Id),
    }),
  ),
  /** What whoever asks may decide now. */
  can: Type.Array(Decision),
  /** Why they may not. */
  whyNot: OrNull(Type.String()),
  /** Of what was looked at; a decision names it, and is refused when it is another by then. */
  version: Type.String(),
});
export type ReviewItem = Static<typeof ReviewItem>;

export const Review = Type.Object({
  id: Id,
  number: Type.Integer(),
  state: Type.Union([Type.Literal('open'), Type.Literal('signed'), Type.Literal('withdrawn')]),
  cause: Type.Union([Type.Literal('person'), Type.Literal('schedule')]),
  startedBy: OrNull(Named),
  startedAt: Instant,
  dueAt: Instant,
  overdue: Type.Boolean(),
  signedBy: OrNull(Named),
  signedAt: OrNull(Instant),
  withdrawnBy: OrNull(Named),
  withdrawnAt: OrNull(Instant),
  /** Of the record in the export. */
  sha256: OrNull(Type.String()),
  /** Of those that whoever asks may see. */
  counts: Type.Object({
    items: Type.Integer(),
    decided: Type.Integer(),
    kept: Type.Integer(),
    changed: Type.Integer(),
    removed: Type.Integer(),
  }),
});
export type Review = Static<typeof Review>;

export const ReviewDetail = Type.Object({
  ...Review.properties,
  /** What was confirmed by signing, or why it was withdrawn. */
  statement: OrNull(Type.String()),
  /** Items that wait for whoever asks. */
  yours: Type.Integer(),
  /** Of these, the ones that were kept last time and have not changed since. */
  unchanged: Type.Integer(),
  unchangedByKind: Type.Record(ItemKind, Type.Integer()),
  can: Type.Object({ sign: Type.Boolean(), export: Type.Boolean() }),
});
export type ReviewDetail = Static<typeof ReviewDetail>;

export const ReviewList = Type.Object({
  items: Type.Array(Review),
  /** When the next one starts by itself; null: never, or one is open. */
  nextAt: OrNull(Instant),
});
export type ReviewList = Static<typeof ReviewList>;

export const ItemsQuery = Type.Object({
  /** This one only. */
  item: Type.Optional(Id),
  kind: Type.Optional(ItemKind),
  state: Type.Optional(
    Type.Union([
      Type.Literal('open'),
      Type.Literal('decided'),
      Type.Literal('yours'),
      Type.Literal('changed'),
      Type.Literal('unchanged'),
      /** Decided to be changed or removed. */
      Type.Literal('altered'),
    ]),
  ),
  /** Part of a name, an address, a team or a workspace. */
  search: Type.Optional(Type.String({ maxLength: 200 })),
  sort: Type.Optional(
    Type.Union([Type.Literal('person'), Type.Literal('kind'), Type.Literal('seen'), Type.Literal('decided')]),
  ),
  order: Type.Optional(Type.Union([Type.Literal('asc'), Type.Literal('desc')])),
  offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000, default: 0 })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
});
export type ItemsQuery = Static<typeof ItemsQuery>;
export const ItemsPage = Type.Object({ items: Type.Array(ReviewItem), total: Type.Integer() });
export type ItemsPage = Static<typeof ItemsPage>;

const Words = Type.String({ maxLength: 500, pattern: '^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f]*$' });

export const StartReview = Type.Object(
  { days: Type.Optional(Type.Integer({ minimum: 1, maximum: 180 })) },
  strict,
);
export const DecisionRequest = Type.Object(
  {
    decision: Decision,
    /** For a change: the role, or the level in the workspace. */
    to: Type.Optional(Type.Union([Role, Level])),
    note: Type.Optional(Words),
    version: Type.String({ maxLength: 100 }),
  },
  strict,
);
export type DecisionRequest = Static<typeof DecisionRequest>;
/** How many the person saw; another number by then is refused. */
export const KeepUnchanged = Type.Object({ count: Type.Integer({ minimum: 1, maximum: 1_000_000 }) }, strict);
export const SignOff = Type.Object(
  {
    statement: Type.String({
      minLength: 1,
      maxLength: 1000,
      pattern: '^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f]*$',
    }),
  },
  strict,
);
export const DueChange = Type.Object({ dueAt: Instant }, strict);
export const Withdrawal = Type.Object(
  {
    reason: Type.String({
      minLength: 1,
      maxLength: 500,
      pattern: '^[^\\u0000-\\u001f\\u007f]*\\S[^\\u0000-\\u001f\\u007f]*$',
    }),
  },
  strict,
);
export const ExportQuery = Type.Object(
  { format: Type.Optional(Type.Union([Type.Literal('json'), Type.Literal('csv')], { default: 'json' })) },
  strict,
);

export const ReviewSettings = Type.Object(
  {
    /** A review starts by itself so many months after the last one began; 0: never. */
    everyMonths: Type.Integer({ minimum: 0, maximum: 36 }),
    daysToDecide: Type.Integer({ minimum: 1, maximum: 180 }),
  },
  strict,
);
export type ReviewSettings = Static<typeof ReviewSettings>;
