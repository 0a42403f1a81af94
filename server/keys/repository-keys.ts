/**
 * What a reader and a writer of a backup repository must know. Shapes only; where they come from is in `keys-object.ts`
 * (a reader with a kit or a test identity), `local-repository-keys.ts` (tools, tests) and `keyd-client.ts` (the appliance).
 */

/** What a reader of a repository must know; from a kit, a test identity, or the writer's own state. */
export interface RepositoryReadKeys {
  repositoryId: string;
  /** Ed25519 public key, 32 bytes: the trust root. */
  trustRoot: Uint8Array;
  /** Oldest first. */
  generations: readonly RepositoryGeneration[];
}

export interface RepositoryGeneration {
  generation: number;
  /** `age1…` */
  recipient: string;
  /** `AGE-SECRET-KEY-1…`; absent in write-only use. */
  identity: string | undefined;
  /** 32 bytes. */
  chunkIdSecret: Uint8Array;
  chunking: ChunkingParameters;
  signingKeys: readonly VerifyKey[];
}

/** A public key that may have signed an object. */
export interface VerifyKey {
  /** 16 hex digits: the first 8 bytes of the SHA-256 of `publicKey`. */
  id: string;
  /** Ed25519, 32 bytes. */
  publicKey: Uint8Array;
}

export interface ChunkingParameters {
  /** Chunk size of ordinary files, bytes. */
  fileChunkBytes: number;
  /** Chunk size of PostgreSQL relations, bytes. */
  relationChunkBytes: number;
  /** A pack is closed at this many stored bytes. */
  packBytes: number;
}

/** What a writer needs beyond reading: the newest generation and a signer that composes its own statements. */
export interface RepositoryWriteKeys extends RepositoryReadKeys {
  /** @throws conflict when a head's number is not above the last one signed. */
  sign(statement: SignedStatement): Promise<ObjectSignature>;
  /** Highest number ever signed for a head, decimal, `0` for none; also of heads that were never published. */
  lastHeadNumber(): Promise<string>;
}

/** Object types that the signing key of a generation signs. */
export type SignableType =
  'index' | 'snapshot' | 'files' | 'ledger' | 'head' | 'writer' | 'anchor' | 'report' | 'wal' | 'keyring';

/** What a signature of a repository object says. `keys` and `certificate` alone are signed by the trust root. */
export interface ObjectStatement {
  type: SignableType | 'keys' | 'certificate';
  repositoryId: string;
  /** Decimal; of a certificate the key's id. */
  number: string;
  /** Hex SHA-256 of every byte before the signature line. */
  sha256: string;
}

/** A statement that a writer may ask to be signed. Keyring objects are composed and signed by keyd alone. */
export interface SignedStatement extends ObjectStatement {
  type: Exclude<SignableType, 'keyring'>;
}

export interface ObjectSignature {
  /** 16 hex digits. @see VerifyKey.id */
  keyId: string;
  /** Base64, Ed25519 (RFC 8032), 64 bytes. */
  signature: string;
}
