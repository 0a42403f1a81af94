/** Shapes of what reading a target back found, and of the list of its reports. */
import { Type, type Static } from 'typebox';
import { Cursor, Id, Instant } from '../../lib/shapes.ts';

/** `content`: decrypted and compared chunk by chunk. `hashes`: no key was at hand for any of it. `partly`: for some of it. */
const Depth = Type.Union([Type.Literal('content'), Type.Literal('hashes'), Type.Literal('partly')]);
export type Depth = Static<typeof Depth>;

/** `repaired`: damage was found, and nothing of it is left. */
const State = Type.Union([Type.Literal('whole'), Type.Literal('repaired'), Type.Literal('damaged')]);
export type VerificationState = Static<typeof State>;

/** `whole`: everything in one go. `cycle`: all parts of a cycle, each on its day. */
const Scope = Type.Union([Type.Literal('whole'), Type.Literal('cycle')]);
export type VerificationScope = Static<typeof Scope>;

export const VerificationSummary = Type.Object({
  depth: Depth,
  parts: Type.Integer(),
  snapshots: Type.Integer(),
  packs: Type.Integer(),
  bytes: Type.Number(),
  /** Damaged objects that were found, of those repaired, and left at the end. */
  found: Type.Integer(),
  repaired: Type.Integer(),
  left: Type.Integer(),
});
export type VerificationSummary = Static<typeof VerificationSummary>;

export const VerificationReportItem = Type.Object({
  id: Id,
  targetId: Id,
  targetName: Type.String(),
  runId: Id,
  scope: Scope,
  state: State,
  startedAt: Instant,
  finishedAt: Instant,
  ...VerificationSummary.properties,
  reportSha256: Type.String(),
});
export type VerificationReportItem = Static<typeof VerificationReportItem>;

export const VerificationReportPage = Type.Object({
  items: Type.Array(VerificationReportItem),
  total: Type.Integer(),
  nextCursor: Type.Union([Cursor, Type.Null()]),
});
export type VerificationReportPage = Static<typeof VerificationReportPage>;

export const VerificationReportQuery = Type.Object({
  targetId: Type.Optional(Id),
  runId: Type.Optional(Id),
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, default: 50 })),
});
export type VerificationReportQuery = Static<typeof VerificationReportQuery>;
