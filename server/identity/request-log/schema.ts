/** Shapes of the log of requests. */
import { Type, type Static } from 'typebox';
import { Cursor, Id, Instant } from '../../lib/shapes.ts';

export const LoggedRequest = Type.Object({
  /** As in the error that was shown and in the audit entries of the act. */
  id: Id,
  at: Instant,
  method: Type.String(),
  /** The pattern, never the address itself: what stands in its place of a parameter or behind `?` is not kept. Null: no route. */
  route: Type.Union([Type.String(), Type.Null()]),
  status: Type.Integer(),
  /** Why it was refused or failed, as in the answer. */
  code: Type.Union([Type.String(), Type.Null()]),
  ms: Type.Number(),
  /** Bytes received and sent, headers included. */
  receivedBytes: Type.Integer(),
  sentBytes: Type.Integer(),
  address: Type.Union([Type.String(), Type.Null()]),
  /** Who: a person or key by id, the console by its account; null: nobody signed in. */
  who: Type.Union([Type.String(), Type.Null()]),
  whoKind: Type.String(),
  /** The other side went away before the end of the answer. */
  cutOff: Type.Boolean(),
});
export type LoggedRequest = Static<typeof LoggedRequest>;

export const RequestQuery = Type.Object({
  id: Type.Optional(Id),
  who: Type.Optional(Type.String({ maxLength: 64 })),
  route: Type.Optional(Type.String({ maxLength: 200, description: 'Any part of a route' })),
  method: Type.Optional(Type.Enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])),
  status: Type.Optional(
    Type.String({
      pattern: '^[1-5]([0-9]{2}|xx)$',
      description: 'One status such as 403, or a class such as 5xx',
    }),
  ),
  address: Type.Optional(Type.String({ maxLength: 45 })),
  from: Type.Optional(Instant),
  to: Type.Optional(Type.String({ format: 'date-time', description: 'Before this instant' })),
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
});
export type RequestQuery = Static<typeof RequestQuery>;

export const RequestPage = Type.Object({
  items: Type.Array(LoggedRequest),
  /** Also after a page that is not full: a search stops after a second and goes on from here. */
  nextCursor: Type.Union([Cursor, Type.Null()]),
  /** How far back this page looked; null: to the beginning. */
  searchedTo: Type.Union([Instant, Type.Null()]),
});
export type RequestPage = Static<typeof RequestPage>;

export const RequestLogChange = Type.Object(
  {
    days: Type.Integer({ minimum: 1, maximum: 400 }),
    mostMib: Type.Integer({ minimum: 16, maximum: 65_536 }),
  },
  { additionalProperties: false },
);
export type RequestLogChange = Static<typeof RequestLogChange>;

export const RequestLogState = Type.Object({
  ...RequestLogChange.properties,
  usedBytes: Type.Integer(),
  oldestAt: Type.Union([Instant, Type.Null()]),
  /** Not written since the start, because the disk did not take them or they came too quickly. */
  lost: Type.Integer(),
});
export type RequestLogState = Static<typeof RequestLogState>;
