/** Shapes of reading a target back in parts. */
import { Type, type Static } from 'typebox';
import { Instant } from '../../lib/shapes.ts';

/** Of a cycle: everything is read once in so many. 1: all of it, each time. */
export const CycleDays = Type.Integer({ minimum: 1, maximum: 365 });

const InstantOrNull = Type.Union([Instant, Type.Null()]);

/** How far a target is with reading back all of its bytes. */
export const TargetReadBack = Type.Object({
  /** Of the cycle under way, or of the next. */
  parts: CycleDays,
  partsDone: Type.Integer(),
  bytesRead: Type.Number({ description: 'In the cycle under way' }),
  /** Null between two cycles. */
  startedAt: InstantOrNull,
  /** When the last part was read, or everything. */
  readAt: InstantOrNull,
  /** When the last cycle was closed: every byte had been read once. */
  closedAt: InstantOrNull,
  closedParts: Type.Union([Type.Integer(), Type.Null()]),
  closedBytes: Type.Union([Type.Number(), Type.Null()]),
  /** By when all has to be read back; null when nothing is read by itself. */
  dueAt: InstantOrNull,
  late: Type.Boolean(),
});
export type TargetReadBack = Static<typeof TargetReadBack>;

export const VerifyQuery = Type.Object({
  part: Type.Optional(
    Type.Boolean({ description: 'Only the next part of the cycle, and what is owed of it' }),
  ),
});
