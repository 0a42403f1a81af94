/**
 * Signatures as Standard Webhooks 1.0 has them (standardwebhooks.com, "Signature scheme"): HMAC-SHA-256 over id, time and body, in base64
 * after `v1,`; while a secret is being replaced, one of each, with a space between.
 */
import { createHmac, randomBytes } from 'node:crypto';

const PREFIX = 'whsec_';

/** 32 random bytes. */
export function makeSecret(): string {
  return PREFIX + randomBytes(32).toString('base64');
}

/** @param timestampS seconds since 1970. */
export function signatureHeaders(
  secrets: readonly string[],
  { id, timestampS, body }: { id: string; timestampS: number; body: string },
): Record<string, string> {
  const signed = secrets.map((secret) => {
    const key = Buffer.from(secret.slice(PREFIX.length), 'base64');
    return `v1,${createHmac('sha256', key).update(`${id}.${timestampS}.${body}`).digest('base64')}`;
  });
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestampS),
    'webhook-signature': signed.join(' '),
  };
}
