/** Checkpoints that somebody keeps apart from the log: anchors of a target, or notes in a file. */
import { HoldfastError } from '../../lib/errors.ts';
import { readSignedHead, readUnsignedHead, type SignedHead } from '../../lib/merkle/checkpoint.ts';

/** Whom to believe. */
export interface LogTrust {
  /** The repository whose log it must be; undefined where only the trust root or a key is known. */
  repositoryId: string | undefined;
  /** The key of a certificate, when the trust root vouches for it; undefined otherwise. Absent certificates: pinned keys. */
  keyOf(certificate: string, repositoryId: string): Uint8Array | undefined;
  /** Keys that are believed without a certificate. */
  pinned: readonly Uint8Array[];
}

/** A checkpoint from elsewhere, as it was found. */
export interface KeptHead {
  note: string;
  /** The trust root's word for the key that signed it; absent when the keys of the log are enough. */
  certificate?: string;
  /** Where it was found, for messages: a file's name. */
  source: string;
}

/** @returns undefined when nobody who is believed has signed it. */
export function readKeptHead(
  kept: KeptHead,
  trust: LogTrust,
  known: readonly Uint8Array[],
): SignedHead | undefined {
  try {
    const { origin } = readUnsignedHead(kept.note);
    const own =
      kept.certificate === undefined ? undefined : trust.keyOf(kept.certificate, repositoryOf(origin));
    return readSignedHead(kept.note, own === undefined ? known : [...known, own]);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'integrity_failure') return undefined;
    throw error;
  }
}

/** `holdfast.internal/audit/<repository id>/<log id>` */
export function repositoryOf(origin: string): string {
  return origin.split('/')[2] ?? '';
}
