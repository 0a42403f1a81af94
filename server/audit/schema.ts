/** Shapes of audit entries. */
import { Type, type Static } from 'typebox';
import { Cursor, Id, Instant } from '../lib/shapes.ts';

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
export const AuditQuery = Type.Object({
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
  action: Type.Optional(Type.String({ maxLength: 100 })),
  actorId: Type.Optional(Id),
  objectId: Type.Optional(Type.String({ maxLength: 200 })),
});
