/**
 * What the rest of Holdfast can ask of the keyring. Implemented by `keyd-client.ts`; the permissions of each role are in
 * `keyd/permissions.ts`. Every method may throw `unavailable` (keyd does not answer) and `forbidden` (not for this role).
 */
import type { BuiltObject, KitRecipient } from './keys-object.ts';
import type { KeyState } from './key-states.ts';
import type { FieldContext, FileKeyContext, KeyPurpose, VersionedKey } from './sealing.ts';
import type {
  ChunkingParameters,
  ObjectSignature,
  RepositoryReadKeys,
  SignedStatement,
} from './repository-keys.ts';

/** Who is asking; each has a credential of its own. */
export const KEYD_ROLES = ['server', 'worker', 'run', 'browse', 'console'] as const;
export type KeydRole = (typeof KEYD_ROLES)[number];

/** What may be known about a key. */
export interface KeyFacts {
  /** UUID. */
  id: string;
  kind: 'appliance' | 'workspace' | 'subject';
  /** UUID of the workspace; null for the appliance key and for subject keys of people outside any workspace. */
  workspaceId: string | null;
  state: KeyState;
  /** Newest version, 1 and up. */
  version: number;
  /** RFC 3339. */
  createdAt: string;
}

export interface KeydStatus {
  /** Grows when a key is changed or destroyed, not when one is made. */
  revision: number;
  keyCount: number;
  /** Whether core dumps of keyd are off. */
  coreDumpsOff: boolean;
  /** What was found and healed at the start, such as a torn record. */
  notices: string[];
  repository: RepositoryStatus;
}

export interface RepositoryStatus {
  claimed: boolean;
  repositoryId: string | null;
  /** Base64. */
  trustRoot: string | null;
  generation: number;
  /** `lacks`: generations that it was not given, because nothing here opened them any more when it came. */
  kits: (KitRecipient & { provenAt: string; addedAt: string; lacks?: number[] })[];
  retiredKits: { id: string; retiredAt: string }[];
  /** Oldest first; `createdAt` is RFC 3339. `testIdentity`: this appliance keeps the key that opens it. */
  generations: { generation: number; createdAt: string; testIdentity: boolean }[];
  /** True when no test identity of the newest generation is kept here: what is written now opens with a kit alone. */
  writeOnly: boolean;
  /** RFC 3339: when test identities were destroyed for the last time, whether there is another one by now or not; null for never. */
  identitiesDestroyedAt: string | null;
  /** Newest keyring epoch that was composed; 0 for none. */
  keyringEpoch: number;
  /** Decimal; `0` for none. */
  lastHeadNumber: string;
}

/** A derived key with all its versions. */
export interface DerivedKey {
  /** Oldest first. */
  versions: VersionedKey[];
  /** Why the newest version must not seal anything new, such as `key_expired`; null when it may. */
  sealRefusal: string | null;
}

export interface PreparedRepository {
  /** UUID. */
  repositoryId: string;
  /** Base64 of the public half. */
  trustRoot: string;
}

/** Objects to put on a target before the data that needs them, in this order. */
export interface KeyringObjects {
  epoch: number;
  objects: BuiltObject[];
}

/** The newest checkpoint of the audit log that was signed. */
export interface AuditHead {
  origin: string;
  /** 0 when none was. */
  size: number;
  root: Buffer;
  at: Date | null;
}

/** A tree head to sign, and the proof that what was signed before is its beginning. */
export interface CheckpointRequest {
  /** Size of the checkpoint before: the proof begins there. */
  after: number;
  size: number;
  root: Buffer;
  proof: readonly Buffer[];
}

export interface SignedCheckpoint {
  origin: string;
  /** When it was signed, by keyd's clock; whole seconds, RFC 3339. */
  at: string;
  /** The signed note. */
  note: string;
  /** The trust root's word for the key that signed. */
  certificate: string;
}

/** What a run gets beside its secrets. */
export interface LendOptions {
  /** May ask for the test identity, once. */
  testIdentity?: boolean;
  /**
   * May derive keys from the live keyring, on the connection that took its secrets or the test identity: for sampling fields
   * and files when no kit is there.
   */
  liveKeys?: boolean;
}

export interface KeyClient {
  readonly role: KeydRole;

  status(): Promise<KeydStatus>;

  // Keys. Role server. Each returns once the key is durable on this machine.
  /** The key for what belongs to no workspace: e-mail look-ups, secrets of the configuration. Made when first asked for. */
  applianceKey(): Promise<KeyFacts>;
  /** Idempotent: a workspace has one key. */
  createWorkspaceKey(workspaceId: string): Promise<KeyFacts>;
  /** @throws not_found */
  workspaceKey(workspaceId: string): Promise<KeyFacts>;
  /** A new subject key; `null` for a person who is not of one workspace (a member of the appliance). */
  createSubjectKey(workspaceId: string | null): Promise<KeyFacts>;
  /** The "no subject" key of a workspace for the present month (UTC). Made when first asked for. */
  monthlyKey(workspaceId: string): Promise<KeyFacts>;
  /** @throws not_found */
  describeKey(keyId: string): Promise<KeyFacts>;
  /**
   * At most 500 at once; a failure stands in its place. Prefer `openSealer`, which caches and obeys invalidation. Also role
   * run: in a scratch keyd, or with `liveKeys`.
   */
  deriveKeys(requests: readonly { keyId: string; purpose: KeyPurpose }[]): Promise<(DerivedKey | Error)[]>;
  /** Answers with the keyring's revision when it is not `revision` any more, or after `waitMs` (at most 30 s). */
  watch(revision: number, waitMs: number): Promise<number>;
  /** Idempotent. @throws key_pending_deletion */
  enableKey(keyId: string): Promise<KeyFacts>;
  /** Idempotent; in force before it returns. @throws key_pending_deletion */
  disableKey(keyId: string): Promise<KeyFacts>;

  // Recovery kits and the repository. Role server; proof of a kit also console.
  /** Makes the trust root and the repository id that a kit must carry. Idempotent. */
  prepareRepository(): Promise<PreparedRepository>;
  /** Starts the proof of a new kit. The challenge is for `answerKitChallenge`; it lasts 15 minutes. */
  beginKit(recipient: string): Promise<{ kitId: string; challenge: string }>;
  /** Starts another proof of a kit that is known. @throws not_found */
  challengeKit(kitId: string): Promise<{ challenge: string }>;
  /**
   * Before the claim, the kit becomes the one of the repository (instead of an earlier one); after it, one more.
   *
   * @throws wrong_key when the answer is wrong (the challenge is used up); not_found when there is none;
   *   wrong_state for a second kit in write-only use, when no test identity is here to open the keys with.
   */
  proveKit(kitId: string, response: string): Promise<KitRecipient>;
  /**
   * The kit is given nothing new from now on: the keys object and the next keyring base are made without it. What it opens already it goes
   * on opening. Idempotent.
   *
   * A keys object that nothing here opens (write-only) stays as it is.
   *
   * @throws not_found; wrong_state for the last kit.
   */
  retireKit(kitId: string): Promise<RepositoryStatus>;
  /**
   * Begins a new generation: another identity, another chunk secret, for the kits of now. What is written from then on opens with it alone;
   * the generations before stay. One durable step.
   *
   * @param generation the one that it follows, so that asking twice makes one.
   * @param options `testIdentity`: the new generation has one, also when the one before has none: the end of write-only use.
   * @throws wrong_state before the claim; conflict when another one is the newest; too_large beyond 32 generations.
   */
  rekeyRepository(generation: number, options?: { testIdentity?: boolean }): Promise<RepositoryStatus>;
  /**
   * Write-only from now on: the test identities of all generations are destroyed, and are in no file of the keyring when this returns. The
   * keys objects are made anew without them. Idempotent.
   *
   * @throws wrong_state before the claim; conflict while a process that was given them is connected.
   */
  destroyTestIdentities(): Promise<RepositoryStatus>;
  /** Makes signing key, generation 1 and test identity. Idempotent. @throws wrong_state when no kit is proven. */
  claimRepository(options?: {
    writeOnly?: boolean;
    chunking?: Partial<ChunkingParameters>;
  }): Promise<RepositoryStatus>;

  // Writing to the repository. Roles worker and run.
  /** Everything but `sign`; the identity is undefined. @throws wrong_state before the claim. */
  repositoryKeys(): Promise<RepositoryReadKeys>;
  /** That of the newest generation. Also server. */
  keysObject(): Promise<BuiltObject>;
  /** The objects to keep on every target: one a generation, oldest first. Also server. */
  keysObjects(): Promise<BuiltObject[]>;
  sign(statement: SignedStatement): Promise<ObjectSignature>;
  /** Highest number signed for a head, decimal; a new head's must be above it. */
  lastHeadNumber(): Promise<string>;
  /**
   * The keyring as it is now, for one target: a base when the target lacks the present one, and an addition when keys
   * changed since.
   *
   * @param present names under `keyring/` on the target.
   */
  keyringObjects(present: readonly string[]): Promise<KeyringObjects>;

  // Runs.
  /**
   * For one run, kept in memory, two hours at most. Role server: secrets (up to 512 KiB of JSON) and rights. Role worker: rights
   * only, with `null` as secrets. What is lent adds up.
   */
  lend(runId: string, secrets: unknown, options?: LendOptions): Promise<void>;
  /** Role run: what was lent, once. @throws not_found */
  take(runId: string): Promise<unknown>;
  /** Role run: only the right to derive live keys, when it was lent. @throws forbidden */
  takeLiveKeys(runId: string): Promise<void>;
  /** Role run: once, when it was lent. They open `keys/`: each its generation, the newest first. @throws forbidden; needs_kit in write-only use. */
  testIdentities(runId: string): Promise<string[]>;
  /** Role run and server: a signature for a report. */
  signReport(report: { number: string; sha256: string }): Promise<ObjectSignature>;
  /** Role run and server: the trust root's word for the key that signs now. @throws wrong_state before the claim. */
  signingCertificate(): Promise<string>;

  // The audit log. Role run and server.
  /** @throws wrong_state before the claim. */
  auditHead(): Promise<AuditHead>;
  /**
   * Composes and signs a checkpoint with the present time. The same head may be signed again, with a newer time.
   *
   * @throws conflict when another checkpoint was signed meanwhile; integrity_failure for a tree that what was signed before is not the
   *   beginning of.
   */
  signCheckpoint(request: CheckpointRequest): Promise<SignedCheckpoint>;
  /**
   * Role server: the log goes on under a new id, after a person said that this state is the one to go on with. Where none was signed,
   * nothing happens.
   */
  renewAuditLog(): Promise<void>;

  close(): Promise<void>;
}

/** A value to seal, and the key to seal it under. */
export interface SealRequest {
  keyId: string;
  purpose: KeyPurpose;
  context: FieldContext;
  value: Uint8Array | string;
}

export interface OpenRequest {
  keyId: string;
  purpose: KeyPurpose;
  context: FieldContext;
  sealed: Uint8Array;
}

/**
 * Seals and opens values with derived keys that are cached for less than a second beyond keyd's last word, so that a
 * disabled key stops working within a second, also when keyd is gone. All methods take many at once: one round trip.
 *
 * @throws key_disabled, key_expired, key_pending_deletion, not_found, unavailable; integrity_failure for what was changed.
 */
export interface FieldSealer {
  seal(requests: readonly SealRequest[]): Promise<Buffer[]>;
  open(requests: readonly OpenRequest[]): Promise<Buffer[]>;
  /** As `open`, with an error in the place of what cannot be opened (a person whose key was destroyed). */
  tryOpen(requests: readonly OpenRequest[]): Promise<(Buffer | Error)[]>;
  /** UTF-8 text, purpose `names` of a workspace key. */
  sealName(workspaceKeyId: string, context: FieldContext, name: string): Promise<Buffer>;
  openName(workspaceKeyId: string, context: FieldContext, sealed: Uint8Array): Promise<string>;
  /** UTF-8 text, purpose `person` of a subject key. */
  sealPerson(subjectKeyId: string, context: FieldContext, value: string): Promise<Buffer>;
  openPerson(subjectKeyId: string, context: FieldContext, sealed: Uint8Array): Promise<string>;
  /** 32 bytes. The first version of the key, so that a rotation does not hide what was indexed. @see blindIndex */
  blindIndex(keyId: string, context: string, value: string): Promise<Buffer>;
  blindIndexes(keyId: string, values: readonly { context: string; value: string }[]): Promise<Buffer[]>;
  /** A new data key for one file version, and the same wrapped for the database. Zero `key` after use. */
  createFileKey(file: FileKeyContext): Promise<{ key: Buffer; wrapped: Buffer }>;
  openFileKey(file: FileKeyContext, wrapped: Uint8Array): Promise<Buffer>;
  /** For long work with a data key: throws when the key above it may not decrypt any more. Cheap; call it for each segment. */
  requireUsable(keyId: string): Promise<void>;
  close(): void;
}
