/** A section's file list, read segment by segment; with a path, only the segments that can hold it. */
import { HoldfastError } from '../../lib/errors.ts';
import type { ChunkCatalogue, FileEntry, SegmentReference, SourceSection } from '../engine.ts';
import { sha256 } from './chunk.ts';
import { readChunks } from './chunk-source.ts';
import { decodeEntry, pathOf } from './file-entry.ts';
import type { PackReader } from './pack-reader.ts';
import { byteStringOf, type ByteString } from './path-bytes.ts';
import type { PathSelection } from './path-selection.ts';

export interface ListedEntry {
  path: ByteString;
  entry: FileEntry;
}

/** What part of a list is wanted. */
export interface ListFilter {
  /** This entry and everything below it; '' and absent mean all. */
  under?: string;
  /** Only segments that may hold a path of these are read; entries of those segments all come. */
  near?: Pick<PathSelection, 'mayLieWithin'>;
  /** Only entries behind this path in byte order. */
  after?: string;
}

/** Segment by segment, in the order of path bytes. @throws integrity_failure */
export async function* readSegments(
  section: Pick<SourceSection, 'segments'>,
  packs: PackReader,
  catalogue: ChunkCatalogue,
  filter: ListFilter = {},
): AsyncIterable<ListedEntry[]> {
  const under = byteStringOf(filter.under ?? '');
  const after = filter.after === undefined ? undefined : byteStringOf(filter.after);
  const { near } = filter;
  const wanted = section.segments.filter(
    (segment, at) =>
      mayHold(section.segments, at, under, after) &&
      near?.mayLieWithin(firstOf(segment) ?? '', firstOf(section.segments[at + 1])) !== false,
  );
  // One segment ahead: the next is fetched while this one is worked on.
  let next = wanted[0] === undefined ? undefined : readSegment(wanted[0], packs, catalogue);
  for (let at = 0; next !== undefined; at++) {
    const entries = await next;
    const following = wanted[at + 1];
    next = following === undefined ? undefined : readSegment(following, packs, catalogue);
    next?.catch(() => undefined);
    const all = under === '' && after === undefined;
    yield all
      ? entries
      : entries.filter(({ path }) => isUnder(path, under) && (after === undefined || path > after));
  }
}

export async function* listEntries(
  section: Pick<SourceSection, 'segments'>,
  packs: PackReader,
  catalogue: ChunkCatalogue,
  filter: ListFilter = {},
): AsyncIterable<ListedEntry> {
  for await (const segment of readSegments(section, packs, catalogue, filter)) yield* segment;
}

function isUnder(path: ByteString, under: ByteString): boolean {
  return under === '' || path === under || path.startsWith(`${under}/`);
}

function firstOf(segment: SegmentReference | undefined): ByteString | undefined {
  return segment === undefined ? undefined : Buffer.from(segment.first, 'base64').toString('latin1');
}

function mayHold(
  segments: readonly SegmentReference[],
  at: number,
  under: ByteString,
  after: ByteString | undefined,
): boolean {
  const first = firstOf(segments[at]) ?? '';
  const following = firstOf(segments[at + 1]);
  if (after !== undefined && following !== undefined && following <= after) return false;
  if (under === '') return true;
  // What is under a path lies from the path itself to below `path0`, `0` being the byte after `/`.
  if (first >= `${under}0`) return false;
  return following === undefined || following > under;
}

async function readSegment(
  segment: SegmentReference,
  packs: PackReader,
  catalogue: ChunkCatalogue,
): Promise<ListedEntry[]> {
  for await (const { data } of readChunks(packs, catalogue, [segment.chunk])) {
    if (data.length !== segment.bytes || sha256(data).toString('hex') !== segment.sha256) {
      throw damagedList('A part of a file list is not the one that the snapshot names');
    }
    return decodeSegment(data, segment);
  }
  throw damagedList('A part of a file list is missing');
}

/** @throws integrity_failure for anything but sorted lines, as many as the reference says */
export function decodeSegment(
  data: Buffer,
  segment: Pick<SegmentReference, 'first' | 'lines'>,
): ListedEntry[] {
  const lines = data.toString('utf8').split('\n');
  if (lines.pop() !== '' || lines.length !== segment.lines) {
    throw damagedList('A part of a file list has another number of lines than the snapshot says');
  }
  const entries: ListedEntry[] = [];
  let last: ByteString | undefined;
  for (const line of lines) {
    const entry = decodeEntry(line);
    const path = pathOf(entry);
    if (last !== undefined && path <= last) throw damagedList('A file list is not sorted');
    last = path;
    entries.push({ path, entry });
  }
  if (entries[0] !== undefined && entries[0].path !== firstOf({ ...segment } as SegmentReference)) {
    throw damagedList('A part of a file list starts with another path than the snapshot says');
  }
  return entries;
}

function damagedList(message: string): HoldfastError {
  return new HoldfastError('integrity_failure', message, {
    hint: 'Run verify, and restore from another target or another snapshot.',
  });
}
