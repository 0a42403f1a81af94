/** How much may be sent to a target, as people say it. */
import { Type, type Static } from 'typebox';
import { Hours, WorkHours } from '../lib/hours.ts';

/** Slower than this a pack would take minutes, and requests would end for their age. */
export const SLOWEST_BYTES_PER_SECOND = 250_000;

export const TargetPace = Type.Object(
  {
    bytesPerSecond: Type.Integer({ minimum: SLOWEST_BYTES_PER_SECOND, maximum: 10_000_000_000 }),
    /** When that holds; outside of it nothing is limited. Always, when it is left out. */
    hours: Type.Optional(Hours),
  },
  { additionalProperties: false },
);
export type TargetPace = Static<typeof TargetPace>;
export const PaceChange = Type.Object({ pace: Type.Union([TargetPace, Type.Null()]) });
export const WorkHoursChange = Type.Object({ hours: Type.Union([WorkHours, Type.Null()]) });
