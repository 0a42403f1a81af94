/** What the ways by which a session was opened are worth. */
import type { Role, SignInMethod } from '../schema.ts';

/**
 * A passkey as the only step is two factors: what holds it, and what opens that. Single sign-on alone is none: nobody knows what the
 * provider asked for, unless it says so in a way that the settings name.
 */
const STRONG: ReadonlySet<SignInMethod> = new Set(['totp', 'passkey', 'recovery-code', 'sso-second-factor']);

/** Whether a second factor was among them. */
export function isStrong(methods: readonly SignInMethod[]): boolean {
  return methods.some((method) => STRONG.has(method));
}

/** Whether somebody with this role must have a second factor. */
export function needsSecondFactor(role: Role, membersNeed: boolean): boolean {
  return role === 'owner' || role === 'admin' || membersNeed;
}

/** Nothing but adding a factor is open to such a session. */
export function isRestricted(role: Role, methods: readonly SignInMethod[], membersNeed: boolean): boolean {
  return needsSecondFactor(role, membersNeed) && !isStrong(methods);
}
