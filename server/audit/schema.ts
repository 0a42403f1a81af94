/** Shapes of the audit log as the API shows it. */
import { Type, type Static } from 'typebox';
import { Cursor, Id, Instant, Problem } from '../lib/shapes.ts';

export const AuditEntry = Type.Object({
  number: Type.String(),
  id: Id,
  at: Instant,
  actorKind: Type.Union([Type.Literal('user'), Type.Literal('system'), Type.Literal('console')]),
  actorId: Type.Union([Id, Type.Null()]),
  /** Operating-system user for acts at the console. */
  actorLabel: Type.Union([Type.String(), Type.Null()]),
  action: Type.String(),
  objectType: Type.String(),
  objectId: Type.Union([Type.String(), Type.Null()]),
  workspaceId: Type.Union([Id, Type.Null()]),
  result: Type.Union([Type.Literal('done'), Type.Literal('refused'), Type.Literal('failed')]),
  address: Type.Union([Type.String(), Type.Null()]),
  requestId: Type.Union([Type.String(), Type.Null()]),
  detail: Type.Record(Type.String(), Type.Unknown()),
});
export type AuditEntry = Static<typeof AuditEntry>;
export const AuditPage = Type.Object({
  items: Type.Array(AuditEntry),
  nextCursor: Type.Union([Cursor, Type.Null()]),
});

export const AuditFilter = Type.Object({
  action: Type.Optional(
    Type.String({
      maxLength: 100,
      description: 'A whole name, all below one that ends in a dot, or any part of a name',
    }),
  ),
  actorId: Type.Optional(Id),
  actorKind: Type.Optional(AuditEntry.properties.actorKind),
  actorLabel: Type.Optional(Type.String({ maxLength: 64 })),
  objectType: Type.Optional(Type.String({ maxLength: 64 })),
  objectId: Type.Optional(Type.String({ maxLength: 200 })),
  result: Type.Optional(AuditEntry.properties.result),
  address: Type.Optional(Type.String({ maxLength: 45, description: 'One IP address' })),
  requestId: Type.Optional(Id),
  entryId: Type.Optional(Id),
  from: Type.Optional(Instant),
  to: Type.Optional(Type.String({ format: 'date-time', description: 'Before this instant' })),
});
export type AuditFilter = Static<typeof AuditFilter>;
export const AuditQuery = Type.Object({
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
  ...AuditFilter.properties,
});
export type AuditQuery = Static<typeof AuditQuery>;

/** Days for which entries of a kind are kept at least, whatever is set. The database holds the same. */
export const SHORTEST_DAYS = { act: 365, read: 30 } as const;
const LONGEST_DAYS = 36_500;

export const RetentionChange = Type.Object({
  actsDays: Type.Integer({ minimum: SHORTEST_DAYS.act, maximum: LONGEST_DAYS }),
  /** Downloads and previews of files. */
  readsDays: Type.Integer({ minimum: SHORTEST_DAYS.read, maximum: LONGEST_DAYS }),
  reason: Type.String({ minLength: 1, maxLength: 500, pattern: '^[^\\u0000-\\u001f\\u007f]+$' }),
});
export type RetentionChange = Static<typeof RetentionChange>;
export const Retention = Type.Object({
  ...RetentionChange.properties,
  /** Null while it is as it came. */
  changedAt: Type.Union([Instant, Type.Null()]),
});
export type Retention = Static<typeof Retention>;

export const AuditActions = Type.Object({ items: Type.Array(Type.String()) });

export const TargetAnchorState = Type.Object({
  targetId: Id,
  targetName: Type.String(),
  /** It lies on the disk or machine of the data: whoever can change the log there can change this too. */
  sameDisk: Type.Boolean(),
  /** `none`: nothing is written before the first snapshot. */
  state: Type.Union([
    Type.Literal('current'),
    Type.Literal('behind'),
    Type.Literal('failing'),
    Type.Literal('none'),
  ]),
  /** Of the newest anchor there. */
  size: Type.Union([Type.Integer(), Type.Null()]),
  checkpointAt: Type.Union([Instant, Type.Null()]),
  anchoredAt: Type.Union([Instant, Type.Null()]),
  problem: Type.Union([Problem, Type.Null()]),
});
export type TargetAnchorState = Static<typeof TargetAnchorState>;

const Verification = Type.Object({
  at: Instant,
  runId: Id,
  ok: Type.Boolean(),
  size: Type.Integer(),
  checkpoints: Type.Integer(),
  findingCount: Type.Integer(),
  findings: Type.Array(Type.Object({ code: Type.String(), message: Type.String() })),
  notices: Type.Array(Type.String()),
});

export const LogState = Type.Object({
  /** Entries in the tree, and committed ones that wait for their place in it. */
  size: Type.Integer(),
  pending: Type.Integer(),
  checkpoint: Type.Union([
    Type.Object({
      origin: Type.String(),
      size: Type.Integer(),
      at: Instant,
      note: Type.String(),
      /** The public half of the key that signed it, as an auditor keeps it. */
      verifierKey: Type.Union([Type.String(), Type.Null()]),
      /** Of that public half: `SHA256:` and base64, as SSH writes fingerprints. */
      keyFingerprint: Type.Union([Type.String(), Type.Null()]),
    }),
    Type.Null(),
  ]),
  /** Why the last try to sign a checkpoint came to nothing. */
  problem: Type.Union([Problem, Type.Null()]),
  anchors: Type.Array(TargetAnchorState),
  verification: Type.Union([Verification, Type.Null()]),
  /** The run that verifies the log at the moment. */
  verifyingRunId: Type.Union([Id, Type.Null()]),
});
export type LogState = Static<typeof LogState>;

export const SavedFilter = Type.Object({
  id: Id,
  name: Type.String(),
  /** Of the page's address, without the question mark. */
  query: Type.String(),
  createdAt: Instant,
});
export type SavedFilter = Static<typeof SavedFilter>;
export const SavedFilters = Type.Object({ items: Type.Array(SavedFilter) });
export const SaveFilter = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 80, pattern: '^[^\\u0000-\\u001f\\u007f]+$' }),
  query: Type.String({ maxLength: 2000, pattern: '^[A-Za-z0-9_.~%&=+:*-]*$' }),
});
export type SaveFilter = Static<typeof SaveFilter>;

export const ExportQuery = Type.Object({
  since: Type.Optional(
    Type.String({ format: 'date-time', description: 'From the last checkpoint before this instant on' }),
  ),
});
