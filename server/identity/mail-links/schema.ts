/** Shapes of links that are sent by mail. */
import { Type, type Static } from 'typebox';
import { Instant } from '../../lib/shapes.ts';
import { Email, Password } from '../schema.ts';

const strict = { additionalProperties: false };

export type LinkKind = 'password-reset' | 'magic-link' | 'email-change';

/** 32 random bytes, base64url. */
export const LinkToken = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' });

export const LinkAsk = Type.Object({ email: Email }, strict);
export const TokenOnly = Type.Object({ token: LinkToken }, strict);
/** The same for everybody. */
export const Asked = Type.Object({ validMinutes: Type.Integer() });

export const ResetLook = Type.Object({ email: Type.String(), expiresAt: Instant });
export type ResetLook = Static<typeof ResetLook>;

export const ResetRequest = Type.Object({ token: LinkToken, password: Password }, strict);
export type ResetRequest = Static<typeof ResetRequest>;

export const SentReset = Type.Object({
  /** Whether it goes out by mail. */
  mailed: Type.Boolean(),
  /** To hand over where no mail can be sent. Secret, shown this once. */
  link: Type.Optional(Type.String()),
  expiresAt: Instant,
});
export type SentReset = Static<typeof SentReset>;

export const EmailChangeRequest = Type.Object({ email: Email }, strict);
export const PendingEmailChange = Type.Object({ email: Type.String(), expiresAt: Instant });
export type PendingEmailChange = Static<typeof PendingEmailChange>;
