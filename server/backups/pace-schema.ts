/** How much may be sent to a target, as people say it. */
import { Type, type Static } from 'typebox';

/** Slower than this a pack would take minutes, and requests would end for their age. */
export const SLOWEST_BYTES_PER_SECOND = 250_000;
const Time = Type.String({ pattern: '^([01][0-9]|2[0-3]):[0-5][0-9]$', description: 'HH:MM' });

export const TargetPace = Type.Object(
  {
    bytesPerSecond: Type.Integer({ minimum: SLOWEST_BYTES_PER_SECOND, maximum: 10_000_000_000 }),
    /** When that holds; outside of it nothing is limited. Always, when it is left out. */
    hours: Type.Optional(
      Type.Object(
        {
          from: Time,
          /** The same as `from`: the whole day. Before it: over midnight. */
          to: Time,
          days: Type.Array(Type.Integer({ minimum: 1, maximum: 7 }), {
            ...{ minItems: 1, maxItems: 7, uniqueItems: true },
            description: '1 for Monday to 7; hours over midnight belong to the day on which they began',
          }),
          /** IANA name. */
          timeZone: Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9_+/-]+$' }),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);
export type TargetPace = Static<typeof TargetPace>;
export const PaceChange = Type.Object({ pace: Type.Union([TargetPace, Type.Null()]) });
