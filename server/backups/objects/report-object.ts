/**
 * `reports/<id>-<hash>.age`: a report (of a restore test, say) kept beside the data that it is about. The envelope is
 * signed like every object; what the report says, and its own signature, are the business of whoever wrote it.
 * @see FORMAT.md "Reports"
 */
import type { VerifyKey } from '../../keys/index.ts';
import { damagedObject, readInstant, type JsonRecord, readRecord, readText } from './object-fields.ts';
import { decodeObject, encodeObject, type ObjectSigner } from './object-lines.ts';

export interface StoredReport {
  /** UUID; in the name too. */
  id: string;
  /** `restore-test`, for example. */
  kind: string;
  /** The number of the head that it was written under; the object's number. */
  head: number;
  /** RFC 3339, UTC. */
  createdAt: string;
  content: JsonRecord;
}

export async function encodeReport(
  repositoryId: string,
  report: StoredReport,
  signer: ObjectSigner,
): Promise<Buffer> {
  const { head, ...rest } = report;
  return encodeObject({ type: 'report', repositoryId, number: head }, [{ report: rest }], signer);
}

/**
 * @param expected `head` is in the header, not in the name: `headNumberOf` finds it.
 * @throws as `decodeObject`.
 */
export function decodeReport(
  plaintext: Uint8Array,
  expected: { repositoryId: string; id: string },
  keys: readonly VerifyKey[],
): StoredReport {
  const number = headNumberOf(plaintext);
  const header = { type: 'report' as const, repositoryId: expected.repositoryId, number };
  const line = decodeObject(plaintext, header, keys).find((record) => 'report' in record);
  if (line === undefined) throw damagedObject('a report is empty');
  const record = readRecord(line.report);
  if (record.id !== expected.id) throw damagedObject('a report has another id than its name');
  return {
    id: expected.id,
    kind: readText(record, 'kind', /^[a-z][a-z-]{0,39}$/),
    head: number,
    createdAt: readInstant(record, 'createdAt'),
    content: readRecord(record.content),
  };
}

/** The number in the header line, not yet trusted; the signature check that follows binds it. */
function headNumberOf(plaintext: Uint8Array): number {
  const bytes = Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.byteLength);
  const end = bytes.indexOf(0x0a);
  if (end < 0 || end > 4096) throw damagedObject('it has no header');
  try {
    const header = readRecord(JSON.parse(bytes.toString('utf8', 0, end)));
    const number = header.number;
    if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0) return number;
  } catch {
    // Said below.
  }
  throw damagedObject('its header is not valid');
}
