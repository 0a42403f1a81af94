/**
 * The keyring in memory: keys, the repository's own secrets, and how both are written as JSON Lines. Pure.
 *
 * A record replaces what had its id, or removes it; records applied in order give the state. The keyring file and the
 * keyring objects in the repository hold the same lines.
 */
import { HoldfastError } from '../../lib/errors.ts';
import { type KeyState, stricterState } from '../key-states.ts';
import type { ChunkingParameters } from '../repository-keys.ts';
import { signingKeyId, type SigningKeyPair } from '../trust-root.ts';

export type KeyKind = 'appliance' | 'workspace' | 'subject';

export interface KeyVersion {
  /** 1 and up. */
  version: number;
  /** 32 bytes. Secret. */
  material: Buffer;
  /** RFC 3339. */
  createdAt: string;
}

export interface KeyRecord {
  /** UUID. */
  id: string;
  kind: KeyKind;
  workspaceId: string | null;
  /** Subject keys: the key's own id, or `none/2026-07` for what has no subject in that month. */
  subject: string | null;
  state: Exclude<KeyState, 'expired'>;
  createdAt: string;
  /** RFC 3339; null for never. */
  expiresAt: string | null;
  /** Oldest first; at least one. */
  versions: KeyVersion[];
}

/** What the appliance keeps of its backup repository. One per keyring. */
export interface RepositoryRecord {
  repositoryId: string;
  /** Base64 seeds and public halves (Ed25519). Secret. */
  trustRoot: { publicKey: string; privateKey: string };
  /**
   * Those that count. `addedAt` is absent of kits from before it was kept; `lacks` names the generations that nothing here could open any
   * more when the kit came, so that it was not given them.
   */
  kits: { id: string; recipient: string; provenAt: string; addedAt?: string; lacks?: number[] }[];
  /** They are given nothing new any more; absent while there are none. */
  retiredKits?: { id: string; recipient: string; retiredAt: string }[];
  /** Null before the claim. */
  claim: RepositoryClaim | null;
  /** Decimal: highest number signed for a head. */
  lastHeadNumber: string;
  publication: PublicationRecord | null;
  /** RFC 3339: when write-only mode was turned on last. */
  identitiesDestroyedAt?: string;
  /** Absent until the audit log is signed for the first time, and after a recovery. */
  auditLog?: AuditLogRecord;
}

/** The newest checkpoint of the audit log that was signed: none is signed that does not follow it. */
export interface AuditLogRecord {
  /** 16 hex digits, random: a log that goes on from an older state has another one. */
  id: string;
  /** How many entries. */
  size: number;
  /** Base64 of the root; '' while nothing was signed. */
  root: string;
  /** RFC 3339; null while nothing was signed. */
  at: string | null;
}

/** The trust root whole, to sign with. Zero `privateKey` after use. */
export function trustRootOf(repository: Pick<RepositoryRecord, 'trustRoot'>): SigningKeyPair {
  const publicKey = Buffer.from(repository.trustRoot.publicKey, 'base64');
  const privateKey = Buffer.from(repository.trustRoot.privateKey, 'base64');
  return { id: signingKeyId(publicKey), publicKey, privateKey };
}

/** A generation of the repository's keys as a writer needs it. Its identity is inside the keys object alone. */
export interface GenerationRecord {
  generation: number;
  recipient: string;
  /** Base64. Secret. */
  chunkIdSecret: string;
  chunking: ChunkingParameters;
  signingKeys: { id: string; publicKey: string; validFrom: string }[];
  /** Opens the keys object of this generation, and of no other; null once it was destroyed (write-only). Secret. */
  testIdentity: string | null;
  testRecipient: string | null;
  keysObject: { name: string; bytes: string };
  /** RFC 3339; absent of the first one where it is older than this field: its signing key began with it. */
  createdAt?: string;
}

/** The newest generation, and what there is once. */
export interface RepositoryClaim extends GenerationRecord {
  /** Oldest first; absent until the repository is re-keyed. */
  earlier?: GenerationRecord[];
  /** Base64 seed of the newest signing key. Secret. */
  signingPrivateKey: string;
}

/** Oldest first, the newest one too. */
export function generationsOf(claim: RepositoryClaim): GenerationRecord[] {
  return [...(claim.earlier ?? []), claim];
}

/** RFC 3339: when a generation began. */
export function beginOf({ createdAt, signingKeys }: GenerationRecord): string {
  return createdAt ?? signingKeys[0]?.validFrom ?? '';
}

/** The newest keyring base that was composed for the repository. */
export interface PublicationRecord {
  epoch: number;
  /** Object name of the base; '' while it is being made. */
  baseName: string;
  /** A key was destroyed since: a new base is due. */
  stale: boolean;
  /** RFC 3339. */
  baseAt: string;
  /** Number of the last addition to it. */
  additions: number;
  /** Recipients that can open it, sorted. */
  recipients: string[];
}

export interface Keyring {
  keys: Map<string, KeyRecord>;
  repository: RepositoryRecord | null;
  /** Ids of the keys that there is one of per owner. @see ownerName */
  byOwner: Map<string, string>;
  /** Ids of keys that changed since the newest base was composed. */
  changedSinceBase: Set<string>;
  /** A key was destroyed since the base was written: the file must be written anew, without it. */
  dropped: boolean;
  /** Grows when a key that was there is changed or destroyed: whoever keeps derived keys must ask again. */
  revision: number;
  /** Grows with each change of a key. */
  keyRevision: number;
}

/**
 * What a `drop` of the test identities names: they are no records of their own, but the file is to be written anew without them, as
 * after a destroyed key.
 */
export const TEST_IDENTITIES = 'test-identities';

/** One change. `repository` and `key` replace, `drop` destroys. */
export type KeyringRecord =
  | { kind: 'key'; key: KeyRecord }
  | { kind: 'drop'; id: string }
  | { kind: 'repository'; repository: RepositoryRecord };

/** A keyring with nothing in it. */
export function emptyKeyring(): Keyring {
  return {
    keys: new Map(),
    repository: null,
    byOwner: new Map(),
    changedSinceBase: new Set(),
    dropped: false,
    revision: 0,
    keyRevision: 0,
  };
}

/** Applies a change in place. A destroyed key's material is zeroed. */
export function applyRecord(keyring: Keyring, record: KeyringRecord): void {
  switch (record.kind) {
    case 'key': {
      if (keyring.keys.has(record.key.id)) keyring.revision += 1;
      keyring.keys.set(record.key.id, record.key);
      keyring.changedSinceBase.add(record.key.id);
      keyring.keyRevision += 1;
      const owner = ownerName(record.key);
      if (owner !== undefined) keyring.byOwner.set(owner, record.key.id);
      return;
    }
    case 'drop':
      dropKey(keyring, record.id);
      return;
    case 'repository': {
      const before = keyring.repository?.publication?.epoch;
      keyring.repository = record.repository;
      if (record.repository.publication?.epoch !== before) keyring.changedSinceBase.clear();
      return;
    }
  }
}

function dropKey(keyring: Keyring, id: string): void {
  const key = keyring.keys.get(id);
  if (key) {
    for (const version of key.versions) version.material.fill(0);
    const owner = ownerName(key);
    if (owner !== undefined) keyring.byOwner.delete(owner);
  }
  keyring.keys.delete(id);
  keyring.dropped = true;
  keyring.revision += 1;
  keyring.keyRevision += 1;
  keyring.changedSinceBase.delete(id);
  const { repository } = keyring;
  if (repository?.publication) {
    const publication = { ...repository.publication, stale: true };
    keyring.repository = { ...repository, publication };
  }
}

/** Name under which the only key of its kind for an owner is found; undefined for keys of people. */
function ownerName(key: Pick<KeyRecord, 'kind' | 'workspaceId' | 'subject'>): string | undefined {
  if (key.kind === 'subject' && key.subject?.startsWith('none/') !== true) return undefined;
  return `${key.kind}/${key.workspaceId ?? ''}/${key.subject ?? ''}`;
}

/** The key that there is one of per owner: of the appliance, of a workspace, or of a workspace's month. */
export function findOwnedKey(
  keyring: Keyring,
  owner: Pick<KeyRecord, 'kind' | 'workspaceId' | 'subject'>,
): KeyRecord | undefined {
  const id = keyring.byOwner.get(ownerName(owner) ?? '');
  return id === undefined ? undefined : keyring.keys.get(id);
}

/** Zeroes every key's material. The keyring is of no use afterwards. */
export function wipeKeyring(keyring: Keyring): void {
  for (const key of keyring.keys.values()) for (const version of key.versions) version.material.fill(0);
  keyring.keys.clear();
  keyring.byOwner.clear();
  keyring.repository = null;
}

/** The state of a key as it counts now: its own date, and the workspace key above it. */
export function effectiveState(keyring: Keyring, key: KeyRecord, now: Date): KeyState {
  const own = ownState(key, now);
  if (key.kind !== 'subject' || key.workspaceId === null) return own;
  const parent = findOwnedKey(keyring, { kind: 'workspace', workspaceId: key.workspaceId, subject: null });
  return parent ? stricterState(own, ownState(parent, now)) : own;
}

function ownState(key: KeyRecord, now: Date): KeyState {
  if (key.state !== 'enabled' || key.expiresAt === null) return key.state;
  return Date.parse(key.expiresAt) <= now.getTime() ? 'expired' : 'enabled';
}

const LINE_KEY = /^\{"record":"(key|drop|repository)"/;

/** The lines of one record, each ended by a newline: one line a key version, one for anything else. */
export function encodeRecord(record: KeyringRecord): string {
  if (record.kind === 'drop') return `${JSON.stringify({ record: 'drop', id: record.id })}\n`;
  if (record.kind === 'repository')
    return `${JSON.stringify({ record: 'repository', repository: record.repository })}\n`;
  const { key } = record;
  return key.versions
    .map(
      (version) =>
        `${JSON.stringify({
          record: 'key',
          id: key.id,
          kind: key.kind,
          workspace: key.workspaceId,
          subject: key.subject,
          state: key.state,
          created: key.createdAt,
          expires: key.expiresAt,
          version: version.version,
          versionCreated: version.createdAt,
          material: version.material.toString('base64'),
        })}\n`,
    )
    .join('');
}

/**
 * All of a keyring as lines. Keys that changed since the newest published base come after the repository, whose record empties
 * the list of changes: so the list survives being written and read.
 */
export function encodeKeyring(keyring: Keyring): string[] {
  const changed: string[] = [];
  const lines: string[] = [];
  for (const key of keyring.keys.values()) {
    const target = keyring.changedSinceBase.has(key.id) ? changed : lines;
    target.push(encodeRecord({ kind: 'key', key }));
  }
  const { repository } = keyring;
  if (repository) lines.push(encodeRecord({ kind: 'repository', repository }));
  return lines.concat(changed);
}

/**
 * Applies lines made by `encodeRecord`.
 *
 * @throws integrity_failure when a line is not one; the message holds nothing of it.
 */
export function applyLines(keyring: Keyring, text: string): void {
  let start = 0;
  while (start < text.length) {
    const end = text.indexOf('\n', start);
    if (end < 0) throw damagedLine();
    applyLine(keyring, text.slice(start, end));
    start = end + 1;
  }
}

function applyLine(keyring: Keyring, line: string): void {
  const kind = LINE_KEY.exec(line)?.[1];
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(line) as Record<string, unknown>;
  } catch {
    throw damagedLine();
  }
  if (kind === 'key') applyKeyLine(keyring, value);
  else if (kind === 'drop') applyRecord(keyring, { kind: 'drop', id: String(value.id) });
  else if (kind === 'repository') {
    applyRecord(keyring, { kind: 'repository', repository: value.repository as RepositoryRecord });
  } else throw damagedLine();
}

function applyKeyLine(keyring: Keyring, value: Record<string, unknown>): void {
  const material = Buffer.from(String(value.material), 'base64');
  const version = Number(value.version);
  if (material.length !== 32 || !Number.isSafeInteger(version) || version < 1) throw damagedLine();
  const id = String(value.id);
  const older = keyring.keys.get(id)?.versions.filter((candidate) => candidate.version < version) ?? [];
  const key: KeyRecord = {
    id,
    kind: value.kind as KeyKind,
    workspaceId: value.workspace as string | null,
    subject: value.subject as string | null,
    state: value.state as KeyRecord['state'],
    createdAt: String(value.created),
    expiresAt: (value.expires ?? null) as string | null,
    versions: [...older, { version, material, createdAt: String(value.versionCreated) }],
  };
  applyRecord(keyring, { kind: 'key', key });
}

function damagedLine(): HoldfastError {
  return new HoldfastError('integrity_failure', 'The keyring holds a line that cannot be read', {
    hint: 'Restore the keyring from a snapshot with the recovery kit.',
  });
}
