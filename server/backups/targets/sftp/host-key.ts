/** The key by which a server shows that it is the one that a person once compared. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { SftpHostKey } from '../../engine.ts';

/** Most wanted first. RSA only with SHA-2 signatures. */
const HOST_KEY_TYPES = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'rsa-sha2-512',
  'rsa-sha2-256',
] as const;

/** @param blob the key as it goes over the wire: RFC 4253, section 6.6. */
export function readHostKey(blob: Buffer): SftpHostKey {
  const length = blob.length < 4 ? 0 : blob.readUInt32BE(0);
  const type = blob.toString('latin1', 4, 4 + Math.min(length, 64));
  const digest = createHash('sha256').update(blob).digest('base64').replace(/=+$/, '');
  return { type, fingerprint: `SHA256:${digest}` };
}

export function sameFingerprint(a: string, b: string): boolean {
  const [one, other] = [Buffer.from(a), Buffer.from(b)];
  return one.length === other.length && timingSafeEqual(one, other);
}

/** Only the pinned kind is asked for, so that a server that gets a further key still shows the one that was compared. */
export function wantedTypes(pinned: string | undefined): string[] {
  if (pinned === undefined || pinned === '') return [...HOST_KEY_TYPES];
  if (pinned === 'ssh-rsa') return HOST_KEY_TYPES.filter((type) => type.startsWith('rsa-'));
  return HOST_KEY_TYPES.filter((type) => type === pinned);
}
