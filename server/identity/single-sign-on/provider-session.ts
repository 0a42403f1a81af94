import { createHash } from 'node:crypto';

/** What a session of ours remembers of the session at the provider that it belongs to; undefined where the provider names none. */
export function providerSessionHash(issuer: string, sid: string | undefined): Buffer | undefined {
  if (sid === undefined) return undefined;
  return createHash('sha256')
    .update(JSON.stringify([issuer, sid]))
    .digest();
}
