/** `writers/<number>`: who may write. Signed, not encrypted; the highest number wins. @see FORMAT.md "Writers" */
import type { VerifyKey } from '../../keys/index.ts';
import { damagedObject, readInstant, readRecord, readText } from './object-fields.ts';
import { decodeObject, encodeObject, type ObjectSigner } from './object-lines.ts';

export interface WriterClaim {
  number: number;
  /** Id of the appliance that writes. */
  holder: string;
  /** Random, new for every opening: tells two processes of one appliance apart. */
  session: string;
  /** RFC 3339, UTC. */
  startedAt: string;
}

export async function encodeWriter(
  repositoryId: string,
  claim: WriterClaim,
  signer: ObjectSigner,
): Promise<Buffer> {
  const { number, ...content } = claim;
  return encodeObject({ type: 'writer', repositoryId, number }, [{ writer: content }], signer);
}

/** @throws as `decodeObject`. */
export function decodeWriter(
  object: Uint8Array,
  expected: { repositoryId: string; number: number },
  keys: readonly VerifyKey[],
): WriterClaim {
  const line = decodeObject(object, { type: 'writer', ...expected }, keys).find(
    (record) => 'writer' in record,
  );
  if (line === undefined) throw damagedObject('a writer says nothing of itself');
  const record = readRecord(line.writer);
  return {
    number: expected.number,
    holder: readText(record, 'holder', /^[A-Za-z0-9._-]{1,64}$/),
    session: readText(record, 'session', /^[0-9a-f]{32}$/),
    startedAt: readInstant(record, 'startedAt'),
  };
}
