/** Shapes of what is unusual about a snapshot. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../lib/shapes.ts';

const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(shape: T) =>
  Type.Union([shape, Type.Null()]);

export const SnapshotLimits = Type.Object(
  {
    /** Percent below the median of the last seven; null: no limit. */
    shrinkPercent: OrNull(Type.Integer({ minimum: 1, maximum: 100 })),
    growthPercent: OrNull(Type.Integer({ minimum: 1, maximum: 10_000 })),
    leastFiles: Type.Integer({ minimum: 1, maximum: 1_000_000_000 }),
    leastBytes: Type.Integer({ minimum: 1, maximum: 2 ** 50 }),
  },
  { additionalProperties: false },
);
export type SnapshotLimits = Static<typeof SnapshotLimits>;

/** Null: nothing is. */
export const SnapshotUnusual = OrNull(
  Type.Object({
    shrunk: Type.Boolean(),
    /** In one sentence. */
    words: Type.String(),
    /** Somebody said that it is right. */
    accepted: OrNull(
      Type.Object({
        at: Instant,
        by: OrNull(Id),
        byName: OrNull(Type.String()),
        note: Type.String(),
      }),
    ),
  }),
);
