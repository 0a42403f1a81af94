/** Ed25519 key pairs (RFC 8032) as raw 32-byte halves: the trust root of an appliance and its signing keys. */
import { createHash, generateKeyPairSync } from 'node:crypto';
import { PKCS8_PREFIX, SPKI_PREFIX } from '../lib/ed25519.ts';

export interface SigningKeyPair {
  /** 16 hex digits. */
  id: string;
  /** 32 bytes. */
  publicKey: Uint8Array;
  /** The seed, 32 bytes. Secret. */
  privateKey: Uint8Array;
}

/** The first 8 bytes of the SHA-256 of a public key, in hex. */
export function signingKeyId(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex').slice(0, 16);
}

/** A new signing key, or a new trust root: one that signs statements of the kinds `keys` and `certificate` and nothing else. */
export function createSigningKey(): SigningKeyPair {
  const pair = generateKeyPairSync('ed25519');
  const publicKey = pair.publicKey.export({ type: 'spki', format: 'der' }).subarray(SPKI_PREFIX.length);
  const pkcs8 = pair.privateKey.export({ type: 'pkcs8', format: 'der' });
  const privateKey = Buffer.from(pkcs8.subarray(PKCS8_PREFIX.length));
  pkcs8.fill(0);
  return { id: signingKeyId(publicKey), publicKey, privateKey };
}
