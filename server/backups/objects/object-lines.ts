/**
 * What every repository object except packs has in common: a header line, JSON lines, a signature line.
 *
 * Guarantees: nothing of an object is looked at before its signature was checked over its bytes as stored, as an object of
 * the type, repository and number that its name says. Unknown keys and unknown kinds of lines are ignored; a feature named
 * in `must` that this reader does not know stops it.
 */
import { HoldfastError } from '../../lib/errors.ts';
import {
  appendSignature,
  type ObjectSignature,
  type SignedStatement,
  type VerifyKey,
  verifySignature,
} from '../../keys/index.ts';
import { damagedObject, type JsonRecord, readRecord } from './object-fields.ts';

const FORMAT_VERSION = 1;
/** Features that a writer of this version may name in `must`. */
const KNOWN_FEATURES: readonly string[] = ['expired'];

type ObjectType = SignedStatement['type'];

export interface ObjectHeader {
  type: ObjectType;
  repositoryId: string;
  /** Non-negative, below 2^53. */
  number: number;
  /** What a reader has to know, or must not read this object. */
  must?: readonly string[];
}

export interface ObjectSigner {
  sign(statement: SignedStatement): Promise<ObjectSignature>;
}

/** What an object's first line says. */
export function headerOf({ type, repositoryId, number, must = [] }: ObjectHeader): object {
  return { type, version: FORMAT_VERSION, repository: repositoryId, number, must };
}

/** Builds a signed object: header line, one line per record, signature line. */
export async function encodeObject(
  header: ObjectHeader,
  records: Iterable<object>,
  signer: ObjectSigner,
): Promise<Buffer> {
  const lines = [JSON.stringify(headerOf(header))];
  for (const record of records) lines.push(JSON.stringify(record));
  const body = Buffer.from(`${lines.join('\n')}\n`);
  const statement = {
    type: header.type,
    repositoryId: header.repositoryId,
    number: String(header.number),
  };
  return appendSignature(body, statement, (signed) => signer.sign(signed));
}

/**
 * Checks and takes apart a signed object.
 *
 * @returns its records, the header and the signature not among them.
 * @throws integrity_failure when it is not what was expected or not signed by one of `keys`; invalid_input when it needs a
 *   newer Holdfast.
 */
export function decodeObject(
  object: Uint8Array,
  expected: ObjectHeader,
  keys: readonly VerifyKey[],
): JsonRecord[] {
  const statement = {
    type: expected.type,
    repositoryId: expected.repositoryId,
    number: String(expected.number),
  };
  const body = verifySignature(object, statement, keys);
  const lines = body.toString('utf8').split('\n');
  lines.pop();
  const records = lines.map((line) => readRecord(parseLine(line)));
  const header = records.shift();
  if (header === undefined) throw damagedObject('it has no header');
  checkHeader(header, expected);
  return records;
}

export function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw damagedObject('a line is not JSON', cause);
  }
}

/** @throws as `decodeObject`. */
export function checkHeader(header: JsonRecord, expected: ObjectHeader): void {
  const must = header.must ?? [];
  const unknown = Array.isArray(must) ? must.filter((name) => !KNOWN_FEATURES.includes(String(name))) : ['?'];
  if (header.version !== FORMAT_VERSION || unknown.length > 0) {
    throw new HoldfastError('invalid_input', 'This repository was written by a newer Holdfast', {
      hint: 'Use the newest version of Holdfast to open it.',
      detail: `version ${String(header.version)}, must ${unknown.join(', ')}`,
    });
  }
  const right =
    header.type === expected.type &&
    header.repository === expected.repositoryId &&
    header.number === expected.number;
  if (!right) throw damagedObject('its header does not say what its name says');
}
