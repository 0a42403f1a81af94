/** Request and reply shapes that every module's schema builds on. */
import { Type, type Static } from 'typebox';

export const Id = Type.String({ format: 'uuid', description: 'Opaque id, UUID' });
export const Instant = Type.String({ format: 'date-time', description: 'UTC instant, RFC 3339' });
/** Integers beyond 2^53 (nanoseconds, LSNs) travel as decimal strings. */
export const BigDecimal = Type.String({ pattern: '^[0-9]{1,20}$' });

export const Cursor = Type.String({ maxLength: 512, description: 'Opaque; from the page before' });

export const ErrorReply = Type.Object({
  error: Type.Object({
    code: Type.String(),
    message: Type.String(),
    hint: Type.Optional(Type.String()),
    requestId: Type.String(),
  }),
});

/** The answer to an act that needs a second person, or time in which somebody may object. */
export const AskedApproval = Type.Object({
  approval: Type.Object({
    id: Id,
    /** `open`: another administrator decides; `waiting`: it runs by itself. */
    state: Type.Union([Type.Literal('open'), Type.Literal('waiting')]),
    runsAt: Type.Union([Instant, Type.Null()]),
    expiresAt: Instant,
  }),
});
export type AskedApproval = Static<typeof AskedApproval>;

/** What a run, a target or a check says went wrong. */
export const Problem = Type.Object({
  code: Type.String(),
  message: Type.String(),
  hint: Type.Optional(Type.String()),
});
export type Problem = Static<typeof Problem>;

/** A reply that is bytes and no JSON. */
export const Bytes = {
  content: {
    'application/octet-stream': { schema: Type.Unsafe<Uint8Array>({ type: 'string', format: 'binary' }) },
  },
};

export type NoContent = null;
export const NoContent = Type.Null({ description: 'No content' });
