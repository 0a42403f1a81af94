/** Shapes of room on disks and targets. */
import { Type, type Static } from 'typebox';
import { Instant } from '../../lib/shapes.ts';

const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(shape: T) =>
  Type.Union([shape, Type.Null()]);

export const CapacityReply = Type.Object({
  items: Type.Array(
    Type.Object({
      /** `data-disk`, or the id of a target. */
      id: Type.String(),
      name: Type.String(),
      usedBytes: Type.Number(),
      freeBytes: OrNull(Type.Number()),
      quotaBytes: OrNull(Type.Number()),
      takesQuota: Type.Boolean(),
      percent: OrNull(Type.Number()),
      forecast: Type.Object({
        state: Type.Union([
          Type.Literal('full-in'),
          Type.Literal('not-growing'),
          Type.Literal('too-early'),
          Type.Literal('no-limit'),
        ]),
        days: OrNull(Type.Integer()),
      }),
      /** The last of each day, oldest first. */
      points: Type.Array(
        Type.Object({ at: Instant, usedBytes: Type.Number(), freeBytes: OrNull(Type.Number()) }),
      ),
    }),
  ),
});
export type CapacityReply = Static<typeof CapacityReply>;

export const QuotaChange = Type.Object(
  { quotaBytes: OrNull(Type.Integer({ minimum: 2 ** 20, maximum: 2 ** 52 })) },
  { additionalProperties: false },
);
