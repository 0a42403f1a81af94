/**
 * `files/<number>-<hash>.age`: stored files that were born since a snapshot, with the packs that hold them; published before the
 * log that names them. The packs are in no index until a snapshot takes them over, so they are listed here. @see FORMAT.md "files"
 */
import type { VerifyKey } from '../../keys/index.ts';
import type { SourceSection, WrittenPack } from '../engine.ts';
import { packLine, readPack } from '../objects/index-object.ts';
import { damagedObject, readInstant, readRecord } from '../objects/object-fields.ts';
import { decodeObject, encodeObject, type ObjectSigner } from '../objects/object-lines.ts';
import { readSection } from '../objects/snapshot-object.ts';

/** Most files that one object lists, and about how many bytes of them: it is held in memory, and sent before the log is. */
export const MAX_BORN_FILES = 2_000;
export const MAX_BORN_BYTES = 512 * 1024 * 1024;

export interface BornFiles {
  number: number;
  /** RFC 3339, UTC. */
  createdAt: string;
  /** Packs that hold the files and their list. */
  packs: WrittenPack[];
  /** Entries as in a snapshot's section of files. */
  section: SourceSection;
}

export async function encodeBornFiles(
  repositoryId: string,
  born: BornFiles,
  signer: ObjectSigner,
): Promise<Buffer> {
  const { number, createdAt, packs, section } = born;
  const records = [{ born: { createdAt } }, { section }, ...packs.map(packLine)];
  return encodeObject({ type: 'files', repositoryId, number }, records, signer);
}

/** @throws as `decodeObject`. */
export function decodeBornFiles(
  plaintext: Uint8Array,
  expected: { repositoryId: string; number: number },
  keys: readonly VerifyKey[],
): BornFiles {
  let createdAt: string | undefined;
  let section: SourceSection | undefined;
  const packs: WrittenPack[] = [];
  for (const record of decodeObject(plaintext, { type: 'files', ...expected }, keys)) {
    if ('pack' in record) packs.push(readPack(record));
    else if ('section' in record) section = readSection(readRecord(record.section));
    else if ('born' in record) createdAt = readInstant(readRecord(record.born), 'createdAt');
  }
  if (createdAt === undefined || section === undefined) throw damagedObject('a list of born files is empty');
  return { number: expected.number, createdAt, packs, section };
}
