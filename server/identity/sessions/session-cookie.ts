/**
 * The session cookie. `__Host-` makes browsers insist on Secure, Path=/ and no Domain, so that no sibling host can set or
 * read it (RFC 6265bis section 4.1.3.2). It has no lifetime of its own: the row in the table decides.
 */
import { createHash, randomBytes } from 'node:crypto';

export const SESSION_COOKIE = '__Host-holdfast';
const PENDING_COOKIE = '__Host-holdfast-sign-in';
const LINK_COOKIE = '__Host-holdfast-link';
const PROVIDER_COOKIE = '__Host-holdfast-single-sign-on';
const ATTRIBUTES = 'Path=/; Secure; HttpOnly; SameSite=Strict';
/** Of sessions: 48 bytes in base64url (`session-token.ts`); of what is short-lived: 32. */
const TOKEN = /^[A-Za-z0-9_-]{43,64}$/;

/** 32 random bytes, base64url. Secret: only its hash is stored. */
export function newSessionToken(): string {
  return randomBytes(32).toString('base64url');
}

/** SHA-256 of a token; a fast hash suffices for 256 random bits. */
export function sessionTokenHash(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

export function sessionCookie(token: string): string {
  return `${SESSION_COOKIE}=${token}; ${ATTRIBUTES}`;
}

/** Binds a sign-in that is not finished to the browser that began it. */
export function pendingCookie(token: string): string {
  return `${PENDING_COOKIE}=${token}; ${ATTRIBUTES}`;
}

export function expiredPendingCookie(): string {
  return `${PENDING_COOKIE}=; ${ATTRIBUTES}; Max-Age=0`;
}

/** Binds a link that is sent by mail to the browser that asked for it. */
export function linkCookie(token: string, seconds: number): string {
  return `${LINK_COOKIE}=${token}; ${ATTRIBUTES}; Max-Age=${seconds}`;
}

export function expiredLinkCookie(): string {
  return `${LINK_COOKIE}=; ${ATTRIBUTES}; Max-Age=0`;
}

/**
 * Binds what was begun at a sign-in service outside to this browser. The way back is a request from another site, which brings no cookie
 * of ours; the page that it opens asks us itself, and that request does.
 */
export function providerCookie(token: string): string {
  return `${PROVIDER_COOKIE}=${token}; ${ATTRIBUTES}`;
}

export function expiredProviderCookie(): string {
  return `${PROVIDER_COOKIE}=; ${ATTRIBUTES}; Max-Age=0`;
}

/** Tells the browser to drop the cookie. */
export function expiredSessionCookie(): string {
  return `${SESSION_COOKIE}=; ${ATTRIBUTES}; Max-Age=0`;
}

/** The token in a `Cookie` header, or undefined when there is none or it cannot be one of ours. */
export function readSessionToken(header: string | undefined): string | undefined {
  return readToken(header, SESSION_COOKIE);
}

/** As `readSessionToken`, of a sign-in that is not finished. */
export function readPendingToken(header: string | undefined): string | undefined {
  return readToken(header, PENDING_COOKIE);
}

/** As `readSessionToken`, of a browser that asked for a link. */
export function readLinkToken(header: string | undefined): string | undefined {
  return readToken(header, LINK_COOKIE);
}

/** As `readSessionToken`, of what was begun at a sign-in service outside. */
export function readProviderToken(header: string | undefined): string | undefined {
  return readToken(header, PROVIDER_COOKIE);
}

function readToken(header: string | undefined, name: string): string | undefined {
  for (const part of header?.split(';') ?? []) {
    const at = part.indexOf('=');
    if (at === -1 || part.slice(0, at).trim() !== name) continue;
    const token = part.slice(at + 1).trim();
    return TOKEN.test(token) ? token : undefined;
  }
  return undefined;
}
