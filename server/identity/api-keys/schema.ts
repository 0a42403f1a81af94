/** Shapes of API keys and their log, and which rights fit which kind of key. */
import { Type, type Static } from 'typebox';
import { Cursor, Id, Instant } from '../../lib/shapes.ts';
import { RIGHT_NAMES, RightName, facts, type Right } from '../rights.ts';

/** Longest life, days; and the one that is offered. */
export const MOST_DAYS = 365;
export const DEFAULT_DAYS = 90;
/** How long the old secret may stay beside a new one, hours. */
export const MOST_OVERLAP_HOURS = 168;
/** Of one person, at the same time. */
export const MOST_KEYS = 25;
export const DEFAULT_LOG_DAYS = 14;

/** Rights that a key of one workspace may have: of content, which is that workspace's alone. */
export const WORKSPACE_RIGHTS: readonly Right[] = RIGHT_NAMES.filter(
  (right) => facts(right).apiKeys && right.startsWith('files.'),
);
/** Rights that a key of the appliance's operations may have: no content. */
export const OPERATION_RIGHTS: readonly Right[] = RIGHT_NAMES.filter(
  (right) => facts(right).apiKeys && !right.startsWith('files.'),
);

const strict = { additionalProperties: false };
const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

const KeyState = Type.Union([Type.Literal('active'), Type.Literal('expired'), Type.Literal('revoked')]);

export const ApiKey = Type.Object({
  id: Id,
  userId: Id,
  owner: Type.String({ description: 'Name of the person it acts for' }),
  name: Type.String(),
  prefix: Type.String(),
  workspaceId: Nullable(Id),
  workspace: Nullable(Type.String({ description: 'Its name, where you are a member' })),
  rights: Type.Array(RightName),
  networks: Type.Array(Type.String()),
  state: KeyState,
  createdAt: Instant,
  rotatedAt: Nullable(Instant),
  previousUntil: Nullable(Instant),
  expiresAt: Instant,
  revokedAt: Nullable(Instant),
  lastUsedAt: Nullable(Instant),
  lastUsedAddress: Nullable(Type.String()),
});
export type ApiKey = Static<typeof ApiKey>;

export const NewApiKey = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 60 }),
    workspaceId: Nullable(Id),
    rights: Type.Array(RightName, { minItems: 1, maxItems: 20 }),
    networks: Type.Optional(Type.Array(Type.String({ maxLength: 64 }), { maxItems: 50 })),
    days: Type.Optional(Type.Integer({ minimum: 1, maximum: MOST_DAYS, default: DEFAULT_DAYS })),
  },
  strict,
);
export type NewApiKey = Static<typeof NewApiKey>;

export const Rotation = Type.Object(
  {
    overlapHours: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: MOST_OVERLAP_HOURS,
        default: 24,
        description: 'The old secret counts as long',
      }),
    ),
    days: Type.Optional(Type.Integer({ minimum: 1, maximum: MOST_DAYS, default: DEFAULT_DAYS })),
  },
  strict,
);
export type Rotation = Static<typeof Rotation>;

export const MadeApiKey = Type.Object({
  key: ApiKey,
  token: Type.String({ description: 'Shown this once' }),
});
export type MadeApiKey = Static<typeof MadeApiKey>;

export const KeysQuery = Type.Object({ all: Type.Optional(Type.Boolean()) });
export const ApiKeys = Type.Object({
  items: Type.Array(ApiKey),
  /** What a key may be made for, by whoever asks. */
  scopes: Type.Array(
    Type.Object({ workspaceId: Nullable(Id), name: Type.String(), rights: Type.Array(RightName) }),
  ),
});
export type ApiKeys = Static<typeof ApiKeys>;

export const Scope = Type.String({ pattern: '^(appliance|[0-9a-f-]{36})$' });

export const ApiLogEntry = Type.Object({
  number: Type.String(),
  at: Instant,
  scope: Scope,
  keyId: Id,
  userId: Id,
  method: Type.String(),
  route: Type.String(),
  objectId: Nullable(Type.String()),
  status: Type.Integer(),
  ms: Type.Integer(),
  bytes: Type.Integer(),
  address: Type.String(),
});
export type ApiLogEntry = Static<typeof ApiLogEntry>;

export const ApiLogQuery = Type.Object({
  scope: Scope,
  key: Type.Optional(Id),
  route: Type.Optional(Type.String({ maxLength: 100, description: 'Any part of it' })),
  method: Type.Optional(Type.String({ pattern: '^[A-Z]{3,7}$' })),
  failed: Type.Optional(Type.Boolean({ description: 'Only what was refused or failed' })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
  cursor: Type.Optional(Cursor),
});
export type ApiLogQuery = Static<typeof ApiLogQuery>;

export const ApiLogPage = Type.Object({
  items: Type.Array(ApiLogEntry),
  nextCursor: Nullable(Type.String()),
  dropped: Type.Integer({ description: 'Left out in the last 14 days because they came too fast' }),
});
export type ApiLogPage = Static<typeof ApiLogPage>;

export const ApiLogSettings = Type.Object({
  enabled: Type.Boolean(),
  days: Type.Integer({ minimum: 1, maximum: 365 }),
  reason: Nullable(Type.String({ minLength: 1, maxLength: 500 })),
});
export type ApiLogSettings = Static<typeof ApiLogSettings>;
