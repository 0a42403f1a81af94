/** Whom a verifier of the audit log believes: the keys that a trust root vouches for. */
import type { LogTrust } from '../audit/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { readSigningCertificate } from './signing-certificate.ts';

/** @param root 32 bytes, known by another way than the log: from a recovery kit, say. */
export function trustInRoot(root: Uint8Array, repositoryId?: string): LogTrust {
  return {
    repositoryId,
    pinned: [],
    keyOf(certificate, ofRepository) {
      try {
        return readSigningCertificate(certificate, { repositoryId: ofRepository, trustRoot: root }).publicKey;
      } catch (error) {
        if (error instanceof HoldfastError && error.code === 'integrity_failure') return undefined;
        throw error;
      }
    },
  };
}
