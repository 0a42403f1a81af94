/** Verifies a selection of entries, line by line: each by its own proof against the one checkpoint of the file. */
import { HoldfastError } from '../../lib/errors.ts';
import { readSignedHead, type SignedHead } from '../../lib/merkle/checkpoint.ts';
import { HASH_BYTES } from '../../lib/merkle/hashing.ts';
import { verifyInclusion } from '../../lib/merkle/verify-proof.ts';
import { ENTRY_FORMAT, hashStub, stubOfLine } from '../entry-leaf.ts';
import { SELECTION_FORMAT } from '../export-selection.ts';
import { isRecord, linesBehind, parseLine } from './export-lines.ts';
import { createFindingList, type Finding, type FindingList } from './findings.ts';
import { repositoryOf, type LogTrust } from './known-heads.ts';

export interface SelectionReport {
  /** Nothing was found. */
  ok: boolean;
  /** What the entries were chosen by, as whoever exported them says. */
  filter: Record<string, unknown>;
  /** How many were read, and how many of them are proven. */
  entries: number;
  proven: number;
  /** Entries that are newer than the checkpoint: nothing signed speaks for them yet. */
  uncovered: number;
  /** The checkpoint; null when it is not signed by a key that is believed. */
  head: { origin: string; size: number; at: string } | null;
  findings: Finding[];
  findingCount: number;
  /** What an auditor should know, and is no fault. */
  notices: string[];
}

export interface SelectionVerifier {
  /** One line without its end. @throws HoldfastError `invalid_input` when the first one is not that of a selection. */
  line(line: Buffer): void;
  end(): SelectionReport;
}

interface State {
  trust: LogTrust;
  findings: FindingList;
  filter: Record<string, unknown>;
  certificate: string;
  head: SignedHead | undefined;
  /** Of the next entry. */
  place: { position: number | null; path: Buffer | undefined } | undefined;
  seen: Set<number>;
  entries: number;
  proven: number;
  uncovered: number;
  end: { entries: unknown; more: boolean } | undefined;
  /** Lines behind the last one. */
  behind: number;
}

/** True for the beginning of a selection. */
export function isSelection(start: string): boolean {
  return start.startsWith('{"selection":');
}

export function createSelectionVerifier(trust: LogTrust): SelectionVerifier {
  let state: State | undefined;
  return {
    line(line) {
      const value = parseLine(line);
      if (state === undefined) state = readHeader(value, trust);
      else if (state.end !== undefined) state.behind += 1;
      else takeLine(state, line, value);
    },
    end() {
      if (state === undefined) throw notASelection();
      return makeReport(state);
    },
  };
}

function readHeader(value: Record<string, unknown> | undefined, trust: LogTrust): State {
  const header = value?.selection;
  if (!isRecord(header) || !isRecord(header.filter)) throw notASelection();
  if (header.format !== SELECTION_FORMAT) {
    throw new HoldfastError('invalid_input', 'This selection was made by a newer Holdfast', {
      hint: 'Use the newest version of Holdfast.',
    });
  }
  return {
    ...{ trust, findings: createFindingList(), filter: header.filter, certificate: '' },
    ...{ head: undefined, place: undefined, end: undefined, seen: new Set() },
    ...{ entries: 0, proven: 0, uncovered: 0, behind: 0 },
  };
}

function takeLine(state: State, line: Buffer, value: Record<string, unknown> | undefined): void {
  const { findings } = state;
  if (value?.format === ENTRY_FORMAT) takeEntry(state, line, value);
  else if (state.place !== undefined || value === undefined) malformed(findings, state.entries);
  else if (typeof value.certificate === 'string') state.certificate = value.certificate;
  else if (typeof value.checkpoint === 'string') takeCheckpoint(state, value.checkpoint);
  else if (isRecord(value.place)) state.place = readPlace(value.place);
  else if (isRecord(value.end)) state.end = { entries: value.end.entries, more: value.end.more === true };
  else malformed(findings, state.entries);
}

function readPlace({ position, path }: Record<string, unknown>): State['place'] {
  return {
    position: Number.isSafeInteger(position) ? Number(position) : null,
    path: typeof path === 'string' ? Buffer.from(path, 'base64') : undefined,
  };
}

function takeCheckpoint(state: State, note: string): void {
  const { trust, findings, certificate } = state;
  const repositoryId = trust.repositoryId ?? repositoryOf(note.split('\n', 1)[0] ?? '');
  const key = certificate === '' ? undefined : trust.keyOf(certificate, repositoryId);
  const head = readHead(note, key === undefined ? trust.pinned : [...trust.pinned, key]);
  if (head !== undefined && repositoryOf(head.origin) === repositoryId) state.head = head;
  else
    findings.add(
      'key-replaced',
      null,
      'The checkpoint is not signed by a key that the trust root vouches for',
    );
}

function readHead(note: string, keys: readonly Uint8Array[]): SignedHead | undefined {
  try {
    return readSignedHead(note, keys);
  } catch {
    return undefined;
  }
}

function takeEntry(state: State, line: Buffer, entry: Record<string, unknown>): void {
  const { place, head, findings } = state;
  const name = `Entry ${String(entry.number)}`;
  state.place = undefined;
  state.entries += 1;
  if (place === undefined) return malformed(findings, state.entries);
  const { position, path } = place;
  if (position === null) return findings.add('added', null, `${name} has no place in the log`);
  if (state.seen.has(position)) return findings.add('added', position, `${name} stands at a place twice`);
  state.seen.add(position);
  // Without a checkpoint that can be believed nothing is proven, which is said already.
  if (head === undefined) return;
  if (path === undefined && position >= head.size) {
    state.uncovered += 1;
    return;
  }
  const hashes = path ?? Buffer.alloc(0);
  const proof = {
    ...{ leafHash: hashStub(stubOfLine(line, entry)), position, size: head.size, root: head.root },
    path: Array.from({ length: Math.floor(hashes.length / HASH_BYTES) }, (_, at) =>
      hashes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES),
    ),
  };
  if (hashes.length % HASH_BYTES === 0 && verifyInclusion(proof)) state.proven += 1;
  else findings.add('edited', position, `${name} is not what was written at position ${position}`);
}

function makeReport(state: State): SelectionReport {
  const { findings, head, end, entries } = state;
  if (end === undefined) findings.add('truncated', null, 'The last line is missing: the file was cut');
  else if (end.entries !== entries) {
    findings.add(
      'truncated',
      null,
      `The last line promises ${String(end.entries)} entries, here are ${entries}`,
    );
  }
  if (state.behind > 0) findings.add('added', null, linesBehind(state.behind));
  if (head === undefined && !findings.has('key-replaced')) {
    findings.add('unsigned', null, 'No signed checkpoint speaks for these entries');
  }
  const notices = [
    'A selection proves the entries that are in it, not that none was left out: that takes an export of the whole log',
  ];
  if (end?.more === true) notices.push(`More entries fit the filter: only the newest ${entries} are here`);
  return {
    ok: findings.count === 0,
    filter: state.filter,
    entries,
    proven: state.proven,
    uncovered: state.uncovered,
    head: head === undefined ? null : { origin: head.origin, size: head.size, at: head.at.toISOString() },
    findings: findings.list(),
    findingCount: findings.count,
    notices,
  };
}

function malformed(findings: FindingList, entries: number): void {
  findings.add('malformed', null, `A line behind ${entries} entries is not one of a selection`);
}

function notASelection(): HoldfastError {
  return new HoldfastError('invalid_input', 'This is not a selection of audit entries', {
    hint: 'Give the file that the page Audit made.',
  });
}
