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
  MAX_KEYS_OBJECT_BYTES,
  openKeysObject,
} from './keys-object.ts';
export { answerKitChallenge, createKitChallenge, type KitChallenge } from './kit-challenge.ts';
export {
  createLocalRepositoryKeys,
  DEFAULT_CHUNKING,
  type LocalRepositoryKeys,
} from './local-repository-keys.ts';
export {
  isKitRecipient,
  KIT_STEPS,
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
  appendSignature,
  checkSignature,
  type ExpectedObject,
  objectName,
  signatureLine,
  signStatement,
  splitSignature,
  statementBytes,
  verifySignature,
} from './signed-object.ts';
export {
  createSigningKey,
  createTrustRoot,
  signBytes,
  signingKeyId,
  type SigningKeyPair,
  verifyBytes,
} from './trust-root.ts';
