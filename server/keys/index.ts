/** The front door of the keys module. */
export {
  AGE_HEADER_LIMIT_BYTES,
  type AgeHeader,
  type AgeIdentity,
  ageRecipientOf,
  checkAgeRecipients,
  decryptAge,
  encryptAge,
  findAgeHeaderLength,
  generateAgeIdentity,
  makeAgeHeader,
  openAgeHeader,
  type OpenedAgeHeader,
} from './age.ts';
export {
  coverRange,
  createStreamDecryptor,
  createStreamEncryptor,
  deriveStreamKey,
  openChunk,
  openRange,
  plainSize,
  sealChunk,
  sealedSize,
  sealPayloadInto,
  STREAM_CHUNK_BYTES,
  STREAM_NONCE_BYTES,
  STREAM_TAG_BYTES,
  type StreamCodec,
  type StreamRange,
} from './age-stream.ts';
export {
  type BuiltObject,
  buildKeysObject,
  generationOf,
  type KeysStatement,
  type KitRecipient,
  openKeysObject,
  readKeysPlaintext,
} from './keys-object.ts';
export { openSealer } from './field-sealer.ts';
export {
  type DerivedKey,
  type FieldSealer,
  KEYD_ROLES,
  type KeyClient,
  type KeydRole,
  type KeydStatus,
  type KeyFacts,
  type KeyringObjects,
  type LendOptions,
  type OpenRequest,
  type PreparedRepository,
  type RepositoryStatus,
  type SealRequest,
} from './key-client.ts';
export { type KeyCall, keyCan, type KeyRefusal, type KeyState, stricterState } from './key-states.ts';
export { answerKitChallenge, createKitChallenge, type KitChallenge } from './kit-challenge.ts';
export {
  createLocalRepositoryKeys,
  DEFAULT_CHUNKING,
  type LocalRepositoryKeys,
} from './local-repository-keys.ts';
export {
  isKitRecipient,
  kitToJson,
  kitToText,
  makeRecoveryKit,
  MAX_KIT_CHARACTERS,
  type ParsedKit,
  parseIdentity,
  parseRecoveryKit,
  type RecoveryKit,
  splitIdentity,
} from './recovery-kit.ts';
export type {
  ChunkingParameters,
  ObjectSignature,
  ObjectStatement,
  RepositoryGeneration,
  RepositoryReadKeys,
  RepositoryWriteKeys,
  SignableType,
  SignedStatement,
  VerifyKey,
} from './repository-keys.ts';
export {
  blindIndex,
  deriveKey,
  type FieldContext,
  fileKeyContext,
  type FileKeyContext,
  KEY_PURPOSES,
  type KeyPurpose,
  openField,
  SEALED_FIELD_OVERHEAD,
  sealedVersion,
  sealField,
  type VersionedKey,
} from './sealing.ts';
export {
  appendSignature,
  type ExpectedObject,
  objectName,
  signStatement,
  statementBytes,
  verifySignature,
} from './signed-object.ts';
export {
  createSigningKey,
  createTrustRoot,
  signingKeyId,
  type SigningKeyPair,
  verifyBytes,
} from './trust-root.ts';

// For the process keyd, its supervisor, and recovery.
export { keydCommand } from './keyd/command.ts';
export { credentialPath, readCredentials, createKeydCredentials } from './keyd/credentials.ts';
export { type Keyd, startKeyd } from './keyd/server.ts';
export type { KeydClientOptions } from './keyd/client-connection.ts';
export { connectKeyd, openRepositoryWriteKeys } from './keyd-client.ts';
export {
  keyringFromObjects,
  type KeyringObjectName,
  type KeyringReader,
  newestKeyringNames,
  openKeyringObject,
} from './keyring-object.ts';
export { type KeyringFile, openKeyringFile } from './keyring/file.ts';
export { restoreKeyring } from './keyring/restore.ts';
export { rootKeyFile, rootKeyPath, type RootKeySource } from './keyring/root-key.ts';
export { readScratchKeyring, type ScratchKeyd, startScratchKeyd } from './scratch-keyd.ts';
