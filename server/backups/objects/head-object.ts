/**
 * `heads/<number>-<hash>`: what the repository holds at one moment, signed and not encrypted (it has no names in it, and a
 * writer without any secret key must read it). Each head names the hash of the one before. @see FORMAT.md "Head"
 */
import type { VerifyKey } from '../../keys/index.ts';
import {
  damagedObject,
  isCount,
  isHash,
  type JsonRecord,
  readCount,
  readInstant,
  readList,
  readRecord,
  readText,
} from './object-fields.ts';
import { decodeObject, encodeObject, type ObjectSigner } from './object-lines.ts';
import { type ObjectReference, parseKeyringName } from './object-names.ts';

/** The feature that a head with expired parts names in `must`. */
const EXPIRED = 'expired';
/** One line of words. */
const BECAUSE = /^[^\u0000-\u001f\u007f]{1,200}$/;

export interface KeyringState {
  /** Decimal. */
  epoch: string;
  /** Names of the base and its additions, in order. */
  objects: string[];
}

/** Parts of a retained snapshot that are kept no more. */
export interface ExpiredParts {
  snapshot: ObjectReference;
  /** Names of its sections. */
  sections: string[];
  /** Since when: RFC 3339, UTC. */
  at: string;
  /** As a policy says it; a head is not encrypted, so no words of people. */
  because: string;
}

export interface RepositoryHead {
  number: number;
  /** The writer that made it. */
  writer: number;
  /** RFC 3339, UTC. */
  createdAt: string;
  /** The newest generation of keys. */
  generation: number;
  previous: ObjectReference | null;
  /** Retained snapshots, oldest first. */
  snapshots: ObjectReference[];
  /** What of them is kept no more; absent: nothing. */
  expired?: ExpiredParts[];
  /** All index objects that count, and no others. */
  indexes: ObjectReference[];
  /** Numbers below these were given out before; an object of such a number that is not listed is not wanted any more. */
  nextSnapshot: number;
  nextIndex: number;
  keyring: KeyringState | null;
  /** Reserved: the newest ledger object and WAL positions. */
  ledger: ObjectReference | null;
  wal: unknown;
  /** The longest run so far; removal waits that long and a day. */
  longestRunMs: number;
}

export async function encodeHead(
  repositoryId: string,
  head: RepositoryHead,
  signer: ObjectSigner,
): Promise<Buffer> {
  const { number, previous, snapshots, indexes, ledger, expired = [], ...rest } = head;
  // A reader that does not know of it would take what is gone for damage, or restore half of a snapshot for all of it.
  const must = expired.length > 0 ? [EXPIRED] : [];
  const content = {
    ...rest,
    previous: previous && pair(previous),
    snapshots: snapshots.map(pair),
    ...(expired.length > 0
      ? { expired: expired.map((parts) => ({ ...parts, snapshot: pair(parts.snapshot) })) }
      : {}),
    indexes: indexes.map(pair),
    ledger: ledger && pair(ledger),
  };
  return encodeObject({ type: 'head', repositoryId, number, must }, [{ head: content }], signer);
}

function pair(reference: ObjectReference): [number, string] {
  return [reference.number, reference.sha256];
}

/** @throws as `decodeObject`. */
export function decodeHead(
  object: Uint8Array,
  expected: { repositoryId: string; number: number },
  keys: readonly VerifyKey[],
): RepositoryHead {
  const lines = decodeObject(object, { type: 'head', ...expected }, keys);
  const line = lines.find((record) => 'head' in record);
  if (line === undefined) throw damagedObject('a head says nothing');
  const record = readRecord(line.head);
  const expired = record.expired === undefined ? [] : readList(record, 'expired').map(readExpired);
  return {
    number: expected.number,
    writer: readCount(record, 'writer'),
    createdAt: readInstant(record, 'createdAt'),
    generation: readCount(record, 'generation'),
    previous: readReference(record.previous),
    snapshots: readList(record, 'snapshots').map(requireReference),
    ...(expired.length > 0 ? { expired } : {}),
    indexes: readList(record, 'indexes').map(requireReference),
    nextSnapshot: readCount(record, 'nextSnapshot'),
    nextIndex: readCount(record, 'nextIndex'),
    keyring: readKeyring(record),
    ledger: readReference(record.ledger),
    wal: record.wal ?? null,
    longestRunMs: readCount(record, 'longestRunMs'),
  };
}

function readExpired(value: unknown): ExpiredParts {
  const record = readRecord(value);
  const sections = readList(record, 'sections');
  if (sections.length === 0 || !sections.every((name) => typeof name === 'string')) {
    throw damagedObject('a head names no parts that a snapshot has lost');
  }
  return {
    snapshot: requireReference(record.snapshot),
    sections,
    at: readInstant(record, 'at'),
    because: readText(record, 'because', BECAUSE),
  };
}

function readReference(value: unknown): ObjectReference | null {
  if (value === null || value === undefined) return null;
  return requireReference(value);
}

function requireReference(value: unknown): ObjectReference {
  if (!Array.isArray(value)) throw damagedObject('a reference is not a pair');
  const [number, sha256] = value as unknown[];
  if (!isCount(number) || !isHash(sha256)) throw damagedObject('a reference is not valid');
  return { number, sha256 };
}

function readKeyring(record: JsonRecord): KeyringState | null {
  if (record.keyring === null || record.keyring === undefined) return null;
  const keyring = readRecord(record.keyring);
  const objects = readList(keyring, 'objects').map(String);
  if (objects.some((name) => parseKeyringName(name) === undefined)) {
    throw damagedObject('a head names a keyring object that cannot be one');
  }
  return { epoch: readText(keyring, 'epoch', /^\d{1,16}$/), objects };
}
