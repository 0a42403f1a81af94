/**
 * Verifies an export of the audit log, line by line, with nothing but the export, a trust root and, where there are some, checkpoints
 * that were kept elsewhere. The appliance verifies its own log with the same code.
 *
 * Relies on: SHA-256 and Ed25519; that the trust root is the right one. Entries behind the newest fitting checkpoint are compared with
 * the hashes beside them only, which who changes one can change too: their number is told.
 */
import { HoldfastError } from '../../lib/errors.ts';
import { readSignedHead, readUnsignedHead } from '../../lib/merkle/checkpoint.ts';
import { createGrowingTree, type GrowingTree } from '../../lib/merkle/growing-tree.ts';
import { HASH_BYTES } from '../../lib/merkle/hashing.ts';
import { ENTRY_FORMAT, hashStub, stubOfLine } from '../entry-leaf.ts';
import { EXPORT_FORMAT } from '../export-log.ts';
import { watchClock, type ClockWatch } from './clock-watch.ts';
import { isRecord, linesBehind, parseLine } from './export-lines.ts';
import { createFindingList, type Finding, type FindingList } from './findings.ts';
import { createHeadCheck, type CheckedHead, type HeadCheck } from './head-check.ts';
import { readKeptHead, repositoryOf, type KeptHead, type LogTrust } from './known-heads.ts';
import { matchTile } from './match-tile.ts';
import { gatherMovedEntries, type MovedEntries } from './moved-entries.ts';
import { readStub, watchExpiry, type ExpiryWatch } from './expiry-watch.ts';

export interface VerifyReport {
  /** Nothing was found, and a checkpoint fits. */
  ok: boolean;
  /** The log's, as its newest fitting checkpoint names it. */
  origin: string | null;
  /** Position of the first entry, and of the one that would come next. */
  from: number;
  size: number;
  /** How many were read. */
  entries: number;
  /** Of which only a stub is left: their period has ended. */
  expired: number;
  /** Checkpoints that fit, those from elsewhere included. */
  checkpoints: number;
  /** Of those from elsewhere: how many were given, and how many could be believed. */
  kept: { given: number; believed: number };
  /** The newest checkpoint that fits. */
  newest: { size: number; at: string } | null;
  /** Entries behind it: nothing signed speaks for them yet. */
  uncovered: number;
  firstAt: string | null;
  lastAt: string | null;
  /** Checkpoints that speak of entries which were lost when the log went on from an older state, as it says itself. */
  lost: number;
  findings: Finding[];
  findingCount: number;
  /** What an auditor should know, and is no fault. */
  notices: string[];
}

export interface LogVerifier {
  /**
   * One line without its end.
   *
   * @throws HoldfastError `invalid_input` when the first one is not that of an export.
   */
  line(line: Buffer): void;
  /** @param extra findings of whoever looked where an export cannot. */
  end(extra?: readonly Finding[]): VerifyReport;
}

export interface VerifyOptions {
  trust: LogTrust;
  /** Checkpoints that were kept apart from the log. */
  kept?: readonly KeptHead[];
  /** What whoever signs remembers to have signed: believed without a signature. */
  remembered?: CheckedHead | undefined;
}

export function createLogVerifier(options: VerifyOptions): LogVerifier {
  let state: State | undefined;
  return {
    line(line) {
      if (state === undefined) state = readHeader(line, options);
      else if (state.ended) state.behind += 1;
      else takeLine(state, line);
    },
    end(extra = []) {
      if (state === undefined) throw notAnExport();
      return makeReport(state, extra);
    },
  };
}

interface State {
  readonly trust: LogTrust;
  readonly kept: readonly KeptHead[];
  readonly remembered: CheckedHead | undefined;
  readonly from: number;
  /** Entries up to the end, as the first line says. */
  readonly promised: number;
  readonly findings: FindingList;
  readonly heads: HeadCheck;
  readonly moved: MovedEntries;
  readonly clock: ClockWatch;
  readonly expiry: ExpiryWatch;
  /** Certified by the certificates so far, and those pinned. */
  readonly keys: Uint8Array[];
  readonly tree: GrowingTree;
  believed: number;
  /** Certificates are read: from here on heads can be checked. */
  started: boolean;
  /** Position that the next tile must begin at; that of the tree as long as no place is missing. */
  next: number;
  tile: Buffer[];
  /** Hashes of the entries that stand in it. */
  found: Buffer[];
  entries: number;
  ended: boolean;
  /** Lines behind the last one. */
  behind: number;
}

/** Keys of canonical JSON are sorted, so that every entry begins with its action, and no other line does. */
const ENTRY_START = Buffer.from('{"action":');
const STUB_START = Buffer.from('{"expired":');

function takeLine(state: State, line: Buffer): void {
  if (line.subarray(0, ENTRY_START.length).equals(ENTRY_START)) return takeEntry(state, line);
  const isStub = line.subarray(0, STUB_START.length).equals(STUB_START);
  const value = parseLine(line);
  if (typeof value?.certificate === 'string' && !state.started)
    return takeCertificate(state, value.certificate);
  start(state);
  if (isStub) return takeStub(state, value);
  closeTile(state);
  if (isRecord(value?.tile)) takeTile(state, value.tile);
  else if (typeof value?.checkpoint === 'string') takeCheckpoint(state, value.checkpoint);
  else if (isRecord(value?.end)) state.ended = true;
  else malformed(state);
}

function readHeader(line: Buffer, { trust, kept = [], remembered }: VerifyOptions): State {
  const header = parseLine(line)?.export;
  if (!isRecord(header)) throw notAnExport();
  if (header.format !== EXPORT_FORMAT) {
    throw new HoldfastError('invalid_input', 'This export was made by a newer Holdfast', {
      hint: 'Use the newest version of Holdfast.',
    });
  }
  const { from, size, frontier } = header;
  if (!isCount(from) || !isCount(size) || !Array.isArray(frontier)) throw notAnExport();
  const findings = createFindingList();
  return {
    trust,
    kept,
    remembered,
    from,
    promised: size,
    findings,
    heads: createHeadCheck(),
    moved: gatherMovedEntries(),
    clock: watchClock(findings),
    expiry: watchExpiry(),
    keys: [...trust.pinned],
    tree: readFrontier(from, frontier),
    believed: 0,
    started: false,
    next: from,
    tile: [],
    found: [],
    entries: 0,
    ended: false,
    behind: 0,
  };
}

function readFrontier(size: number, frontier: readonly unknown[]): GrowingTree {
  try {
    return createGrowingTree({ size, frontier: frontier.map((hash) => Buffer.from(String(hash), 'base64')) });
  } catch (cause) {
    throw new HoldfastError('invalid_input', 'The first line of this export is damaged', { cause });
  }
}

function takeCertificate(state: State, certificate: string): void {
  const repositoryId = state.trust.repositoryId ?? certifiedRepository(certificate);
  const key = repositoryId === undefined ? undefined : state.trust.keyOf(certificate, repositoryId);
  // A checkpoint that only an unknown key has signed is named where it stands.
  if (key !== undefined) state.keys.push(key);
}

/** The repository that a certificate speaks of; worth something only once its signature was checked. */
function certifiedRepository(certificate: string): string | undefined {
  const header = parseLine(Buffer.from(certificate.split('\n', 1)[0] ?? ''));
  return typeof header?.repository === 'string' ? header.repository : undefined;
}

/** Behind the certificates: what was kept elsewhere can be read now, and checked as soon as the tree has its size. */
function start(state: State): void {
  if (state.started) return;
  state.started = true;
  for (const kept of state.kept) {
    const head = readKeptHead(kept, state.trust, state.keys);
    if (head === undefined || !isOfTrusted(state, head.origin)) continue;
    state.believed += 1;
    state.heads.add({ ...head, source: kept.source });
  }
  if (state.remembered !== undefined) state.heads.add(state.remembered);
  state.heads.reached(state.tree);
}

function isOfTrusted({ trust }: State, origin: string): boolean {
  return trust.repositoryId === undefined || repositoryOf(origin) === trust.repositoryId;
}

function takeEntry(state: State, line: Buffer): void {
  start(state);
  const entry = parseLine(line);
  if (entry?.format !== ENTRY_FORMAT) return malformed(state);
  const position = state.next + state.found.length;
  state.found.push(hashStub(stubOfLine(line, entry)));
  state.entries += 1;
  if (typeof entry.at === 'string') state.clock.entry(entry.at, position);
  const { action, objectId, detail } = entry;
  if (action !== 'audit.log.continued' || typeof objectId !== 'string' || !isRecord(detail)) return;
  const { before, size } = detail;
  if (typeof before === 'string' && isCount(size))
    state.heads.continued({ before, size, origin: objectId, position });
}

/** What is left of an entry whose period has ended stands where it stood. */
function takeStub(state: State, value: Record<string, unknown> | undefined): void {
  const stub = readStub(value?.expired);
  if (stub === undefined) return malformed(state);
  const position = state.next + state.found.length;
  state.found.push(hashStub(stub));
  state.clock.entry(stub.at, position);
  state.expiry.add(stub, position);
}

function takeTile(state: State, tile: Record<string, unknown>): void {
  const { position, hashes } = tile;
  const bytes = Buffer.from(typeof hashes === 'string' ? hashes : '', 'base64');
  const whole = isCount(position) && bytes.length > 0 && bytes.length % HASH_BYTES === 0;
  if (!whole || position < state.next) return malformed(state);
  if (position > state.next) {
    const last = position - 1;
    state.findings.add(
      'deleted',
      state.next,
      `The places ${state.next} to ${last} are gone, with the entries in them`,
    );
    state.heads.stop();
    state.next = position;
  }
  for (let at = 0; at < bytes.length; at += HASH_BYTES) state.tile.push(bytes.subarray(at, at + HASH_BYTES));
}

/** The tile is whole with its entries. The tree grows by the hashes that were stored, whatever the entries say. */
function closeTile(state: State): void {
  const { tile, found } = state;
  if (tile.length === 0 && found.length === 0) return;
  const difference = matchTile(tile, found);
  if (difference !== undefined) state.moved.add(state.next, difference);
  for (const hash of tile) {
    state.tree.append(hash);
    state.heads.reached(state.tree);
  }
  state.next += tile.length;
  state.tile = [];
  state.found = [];
}

function takeCheckpoint(state: State, note: string): void {
  let origin: string;
  let size: number;
  try {
    ({ origin, size } = readUnsignedHead(note));
  } catch {
    return malformed(state);
  }
  const head = isOfTrusted(state, origin) ? readSignedHead(note, state.keys) : undefined;
  if (head === undefined) {
    const message = `The checkpoint at ${size} entries is not signed by a key that the trust root vouches for`;
    state.findings.add('key-replaced', size, message);
    return;
  }
  state.clock.head(head.at, head.size);
  state.heads.add({ ...head, source: '' });
}

function makeReport(state: State, extra: readonly Finding[]): VerifyReport {
  const { findings, heads, moved, clock, from, kept } = state;
  start(state);
  closeTile(state);
  moved.settle(findings);
  const size = state.next;
  if (!state.ended) findings.add('truncated', size, 'The last line is missing: the file was cut');
  else if (size < state.promised) {
    const message = `${state.promised - size} entries are missing at the end: the first line promises ${state.promised}, here are ${size}`;
    findings.add('truncated', size, message);
  }
  if (state.behind > 0) findings.add('added', size, linesBehind(state.behind));
  const { fitting, newest, lost, notices } = heads.settle({ from, size }, findings);
  // Signed time, because anybody who can insert an entry can date it.
  state.expiry.settle(findings, newest?.at.getTime() ?? Date.parse(clock.lastAt ?? ''));
  if (newest === undefined && !findings.has('rewritten') && !findings.has('key-replaced')) {
    findings.add('unsigned', from, 'No signed checkpoint speaks for these entries');
  }
  for (const { code, position, message } of extra) findings.add(code, position, message);
  return {
    ok: findings.count === 0,
    origin: newest?.origin ?? null,
    from,
    size,
    entries: state.entries,
    expired: state.expiry.count,
    checkpoints: fitting,
    kept: { given: kept.length, believed: state.believed },
    newest: newest === undefined ? null : { size: newest.size, at: newest.at.toISOString() },
    uncovered: size - Math.max(from, newest?.size ?? from),
    firstAt: clock.firstAt,
    lastAt: clock.lastAt,
    lost,
    findings: findings.list(),
    findingCount: findings.count,
    notices,
  };
}

function malformed(state: State): void {
  state.findings.add('malformed', state.next, `A line behind position ${state.next} is not one of an export`);
}

function notAnExport(): HoldfastError {
  return new HoldfastError('invalid_input', 'This is not an export of an audit log', {
    hint: 'Give the file that `holdfast audit export` or the page Audit made.',
  });
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
