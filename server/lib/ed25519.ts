/** Ed25519 (RFC 8032) with raw 32-byte keys, which Node takes only in their DER clothes. */
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { HoldfastError } from './errors.ts';

/** RFC 8410 section 7: what comes before the 32 bytes in PKCS #8 and in SubjectPublicKeyInfo. */
export const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
export const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

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
