/** The front door of the keys module. */
export {
  type AgeHeader,
  ageRecipientOf,
  decryptAge,
  encryptAge,
  findAgeHeaderLength,
  generateAgeIdentity,
  makeAgeHeader,
  openAgeHeader,
} from './age.ts';
export {
  coverRange,
  createStreamDecryptor,
  createStreamEncryptor,
  deriveStreamKey,
  openRange,
  plainSize,
  sealedSize,
  STREAM_CHUNK_BYTES,
  STREAM_NONCE_BYTES,
  type StreamCodec,
} from './age-stream.ts';
export { trustInRoot } from './audit-trust.ts';
export { generationOf, type KeysStatement, openKeysObject, readKeysPlaintext } from './keys-object.ts';
export { openRunSealer, openSealer } from './field-sealer.ts';
export {
  type FieldSealer,
  KEYD_ROLES,
  type KeyClient,
  type KeydRole,
  type KeydStatus,
  type OpenRequest,
  type RepositoryStatus,
} from './key-client.ts';
export { needsKit } from './needs-kit.ts';
export { type KeyCall, keyCan, type KeyState, stricterState } from './key-states.ts';
export { answerKitChallenge, createKitChallenge } from './kit-challenge.ts';
export { createLocalRepositoryKeys, type LocalRepositoryKeys } from './local-repository-keys.ts';
export {
  kitToJson,
  kitToText,
  makeRecoveryKit,
  MAX_KIT_CHARACTERS,
  type ParsedKit,
  parseRecoveryKit,
  type RecoveryKit,
  splitIdentity,
} from './recovery-kit.ts';
export type {
  ChunkingParameters,
  ObjectSignature,
  RepositoryGeneration,
  RepositoryReadKeys,
  RepositoryWriteKeys,
  SignedStatement,
  VerifyKey,
} from './repository-keys.ts';
export {
  blindIndex,
  deriveKey,
  type FieldContext,
  type FileKeyContext,
  KEY_PURPOSES,
  type KeyPurpose,
  openField,
  SEALED_FIELD_OVERHEAD,
  sealedVersion,
  sealField,
} from './sealing.ts';
export { appendSignature, signStatement, statementBytes, verifySignature } from './signed-object.ts';
export {
  readSignedReport,
  readSigner,
  type ReportTrust,
  type SignedReport,
  signReport,
  verifySignedReport,
} from './signed-report.ts';
export { makeSigningCertificate, readSigningCertificate } from './signing-certificate.ts';
export { createSigningKey, signingKeyId } from './trust-root.ts';

// For the process keyd, its supervisor, and recovery.
export { keydCommand } from './keyd/command.ts';
export { credentialPath, readCredentials, createKeydCredentials } from './keyd/credentials.ts';
export { startKeyd } from './keyd/server.ts';
export { connectKeyd, openRepositoryWriteKeys } from './keyd-client.ts';
export {
  keyringFromObjects,
  type KeyringReader,
  newestKeyringNames,
  openKeyringObject,
} from './keyring-object.ts';
export { type KeyringFile, openKeyringFile } from './keyring/file.ts';
export { restoreKeyring } from './keyring/restore.ts';
export { givenRootKey, rootKeyFile, rootKeyPath } from './keyring/root-key.ts';
export { readScratchKeyring, startScratchKeyd } from './scratch-keyd.ts';
