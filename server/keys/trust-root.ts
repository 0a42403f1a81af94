/** Ed25519 key pairs (RFC 8032) as raw 32-byte halves: the trust root of an appliance and its signing keys. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  verify,
} from 'node:crypto';
import { HoldfastError } from '../lib/errors.ts';

/** RFC 8410 section 7: what comes before the 32 bytes in PKCS #8 and in SubjectPublicKeyInfo. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

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

/** @returns the 64-byte signature. */
export function signBytes(privateKey: Uint8Array, message: Uint8Array): Buffer {
  const pkcs8 = Buffer.concat([PKCS8_PREFIX, privateKey]);
  const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  pkcs8.fill(0);
  return sign(null, message, key);
}

/** Never throws for a bad signature: false. @throws invalid_input when the public key is not 32 bytes. */
export function verifyBytes(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32) throw new HoldfastError('invalid_input', 'A public key must have 32 bytes');
  const spki = Buffer.concat([SPKI_PREFIX, publicKey]);
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  return signature.length === 64 && verify(null, message, key, signature);
}
