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

export interface KeyringState {
  /** Decimal. */
  epoch: string;
  /** Names of the base and its additions, in order. */
  objects: string[];
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
  const { number, previous, snapshots, indexes, ledger, ...rest } = head;
  const content = {
    ...rest,
    previous: previous && pair(previous),
    snapshots: snapshots.map(pair),
    indexes: indexes.map(pair),
    ledger: ledger && pair(ledger),
  };
  return encodeObject({ type: 'head', repositoryId, number }, [{ head: content }], signer);
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
  return {
    number: expected.number,
    writer: readCount(record, 'writer'),
    createdAt: readInstant(record, 'createdAt'),
    generation: readCount(record, 'generation'),
    previous: readReference(record.previous),
    snapshots: readList(record, 'snapshots').map(requireReference),
    indexes: readList(record, 'indexes').map(requireReference),
    nextSnapshot: readCount(record, 'nextSnapshot'),
    nextIndex: readCount(record, 'nextIndex'),
    keyring: readKeyring(record),
    ledger: readReference(record.ledger),
    wal: record.wal ?? null,
    longestRunMs: readCount(record, 'longestRunMs'),
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
