/**
 * `anchors/<size>-<hash>`: a checkpoint of the audit log, kept where whoever can change the log cannot. Signed, not encrypted: it
 * holds a size, a hash and a time. @see FORMAT.md "anchors"
 */
import type { VerifyKey } from '../../keys/index.ts';
import { damagedObject, readRecord, readText } from './object-fields.ts';
import { decodeObject, encodeObject, type ObjectSigner } from './object-lines.ts';

export interface Anchor {
  /** Entries in the log at that checkpoint; the object's number. */
  size: number;
  /** The signed note. */
  checkpoint: string;
  /** The trust root's word for the key that signed it. */
  certificate: string;
}

/** The same checkpoint makes the same bytes. */
export async function encodeAnchor(
  repositoryId: string,
  anchor: Anchor,
  signer: ObjectSigner,
): Promise<Buffer> {
  const { size, ...content } = anchor;
  return encodeObject({ type: 'anchor', repositoryId, number: size }, [{ anchor: content }], signer);
}

/** @throws as `decodeObject`. */
export function decodeAnchor(
  object: Uint8Array,
  expected: { repositoryId: string; size: number },
  keys: readonly VerifyKey[],
): Anchor {
  const { repositoryId, size } = expected;
  const lines = decodeObject(object, { type: 'anchor', repositoryId, number: size }, keys);
  const line = lines.find((record) => 'anchor' in record);
  if (line === undefined) throw damagedObject('an anchor is empty');
  const record = readRecord(line.anchor);
  return { size, checkpoint: readText(record, 'checkpoint'), certificate: readText(record, 'certificate') };
}
