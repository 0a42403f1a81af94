/** Shapes of the limits of runs. */
import { Type, type Static } from 'typebox';
import { RunKind } from '../../lib/run-schema.ts';

const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(shape: T) =>
  Type.Union([shape, Type.Null()]);

export const RunLimit = Type.Object(
  {
    kind: RunKind,
    /** Minutes without any progress until it is said; null: never. */
    stallMinutes: OrNull(Type.Integer({ minimum: 5, maximum: 1440 })),
    /** Minutes that it may take; null: as long as it takes. */
    limitMinutes: OrNull(Type.Integer({ minimum: 5, maximum: 43_200 })),
    /** Beyond its limit it is cancelled, and not only told of. */
    stops: Type.Boolean(),
  },
  { additionalProperties: false },
);
export type RunLimit = Static<typeof RunLimit>;

export const RunLimits = Type.Object(
  { items: Type.Array(RunLimit, { maxItems: 20 }) },
  { additionalProperties: false },
);
export type RunLimits = Static<typeof RunLimits>;
