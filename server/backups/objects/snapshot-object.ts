/** `snapshots/<number>-<hash>.age`: what one snapshot holds, a section per source. @see FORMAT.md "Snapshot" */
import type { VerifyKey } from '../../keys/index.ts';
import type { SegmentReference, SnapshotDraft, SourceProblem, SourceSection } from '../engine.ts';
import {
  damagedObject,
  isHash,
  type JsonRecord,
  readCount,
  readHash,
  readInstant,
  readList,
  readRecord,
  readText,
} from './object-fields.ts';
import { decodeObject, encodeObject, type ObjectSigner } from './object-lines.ts';

/** Most single problems that a section lists; `problemCount` counts all. */
const MAX_LISTED_PROBLEMS = 1_000;

export interface SnapshotContent extends SnapshotDraft {
  number: number;
}

export async function encodeSnapshot(
  repositoryId: string,
  snapshot: SnapshotContent,
  signer: ObjectSigner,
): Promise<Buffer> {
  const { number, sections, ...facts } = snapshot;
  const lines = [{ snapshot: facts }, ...sections.map((section) => ({ section: bounded(section) }))];
  return encodeObject({ type: 'snapshot', repositoryId, number }, lines, signer);
}

function bounded(section: SourceSection): SourceSection {
  return { ...section, problems: section.problems.slice(0, MAX_LISTED_PROBLEMS) };
}

/** @throws as `decodeObject`. */
export function decodeSnapshot(
  plaintext: Uint8Array,
  expected: { repositoryId: string; number: number },
  keys: readonly VerifyKey[],
): SnapshotContent {
  let facts: JsonRecord | undefined;
  const sections: SourceSection[] = [];
  for (const record of decodeObject(plaintext, { type: 'snapshot', ...expected }, keys)) {
    if ('snapshot' in record) facts = readRecord(record.snapshot);
    else if ('section' in record) sections.push(readSection(readRecord(record.section)));
  }
  if (facts === undefined) throw damagedObject('a snapshot says nothing of itself');
  return {
    number: expected.number,
    takenAt: readInstant(facts, 'takenAt'),
    durationMs: readCount(facts, 'durationMs'),
    generation: readCount(facts, 'generation'),
    keyringEpoch: readText(facts, 'keyringEpoch', /^\d{1,16}$/),
    addedBytes: readCount(facts, 'addedBytes'),
    storedBytes: readCount(facts, 'storedBytes'),
    facts: readRecord(facts.facts ?? {}),
    sections,
  };
}

export function readSection(record: JsonRecord): SourceSection {
  const kind = record.kind;
  if (kind !== 'directory' && kind !== 'postgres') throw damagedObject('a section is of no known kind');
  return {
    name: readText(record, 'name', /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
    kind,
    facts: readRecord(record.facts ?? {}),
    segments: readList(record, 'segments').map((value) => readSegment(readRecord(value))),
    fileCount: readCount(record, 'fileCount'),
    directoryCount: readCount(record, 'directoryCount'),
    sizeBytes: readCount(record, 'sizeBytes'),
    problems: readList(record, 'problems').map((value) => readProblem(readRecord(value))),
    problemCount: readCount(record, 'problemCount'),
  };
}

function readSegment(record: JsonRecord): SegmentReference {
  if (!isHash(record.chunk)) throw damagedObject('a segment names no chunk');
  return {
    first: readText(record, 'first'),
    chunk: record.chunk,
    sha256: readHash(record, 'sha256'),
    lines: readCount(record, 'lines'),
    bytes: readCount(record, 'bytes'),
  };
}

function readProblem(record: JsonRecord): SourceProblem {
  return { path: readText(record, 'path'), reason: readText(record, 'reason') };
}
