/** Shapes of people and sessions, and what each role may do at all. */
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../lib/shapes.ts';

export const Role = Type.Union([
  Type.Literal('owner'),
  Type.Literal('admin'),
  Type.Literal('auditor'),
  Type.Literal('member'),
]);
export type Role = Static<typeof Role>;

/**
 * By what a person proves who they are. `sso-second-factor`: the provider vouches for one of its own, by a value that the settings name.
 * `console`: whoever may use the control socket vouched for them.
 */
export const SignInMethod = Type.Union([
  Type.Literal('password'),
  Type.Literal('totp'),
  Type.Literal('passkey'),
  Type.Literal('recovery-code'),
  Type.Literal('sso'),
  Type.Literal('sso-second-factor'),
  Type.Literal('magic-link'),
  Type.Literal('console'),
]);
export type SignInMethod = Static<typeof SignInMethod>;

export const PersonName = Type.String({ minLength: 1, maxLength: 200 });
export const Email = Type.String({ minLength: 3, maxLength: 254, pattern: '^[^\\s@]+@[^\\s@]+$' });
/** 8 to 128 bytes are checked exactly by the service; ASVS 5.0 6.2. */
export const Password = Type.String({ minLength: 1, maxLength: 256 });

export const SignInRequest = Type.Object({ email: Email, password: Password });
export type SignInRequest = Static<typeof SignInRequest>;

export const User = Type.Object({ id: Id, name: Type.String(), email: Type.String(), role: Role });
export type User = Static<typeof User>;

export const Session = Type.Object({
  user: User,
  /** What the person's role may do; `rights.ts` is the table. */
  rights: Type.Array(Type.String()),
  expiresAt: Instant,
  idleMinutes: Type.Integer(),
  /** How many requests for approval wait for this person's decision. */
  approvals: Type.Integer(),
  /** A second factor is missing that this person must have: nothing but adding one is open. */
  restricted: Type.Boolean(),
  banners: Type.Array(
    Type.Object({
      kind: Type.Union([
        Type.Literal('stage'),
        Type.Literal('kit-unproven'),
        Type.Literal('console-recovery'),
        Type.Literal('recovered'),
        Type.Literal('set-back'),
        Type.Literal('update'),
        Type.Literal('quarantine'),
        Type.Literal('ssh-open'),
        Type.Literal('certificate'),
        Type.Literal('session-alert'),
        Type.Literal('approval'),
        Type.Literal('password-leaked'),
        Type.Literal('access-review'),
      ]),
      message: Type.String(),
    }),
  ),
});
export type Session = Static<typeof Session>;
