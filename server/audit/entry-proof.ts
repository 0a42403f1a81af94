/** The proof that one entry is in the log, as a file that verifies by itself (C2SP tlog-proof). @see LOG.md "Proof of one entry" */
import { HoldfastError } from '../lib/errors.ts';
import { readSignedHead, type SignedHead } from '../lib/merkle/checkpoint.ts';
import { verifyInclusion } from '../lib/merkle/verify-proof.ts';
import { makeCheckpoint, type CheckpointDeps } from './checkpoints.ts';
import { findNewestCheckpoint } from './checkpoint-queries.ts';
import { entryLine, hashStub, stubOfLine } from './entry-leaf.ts';
import { findPlacedEntry } from './export-queries.ts';
import { readInclusionProof } from './tree/stored-tree.ts';
import type { LogTrust } from './verify/known-heads.ts';
import { repositoryOf } from './verify/known-heads.ts';

const FIRST_LINE = 'c2sp.org/tlog-proof@v1';
/** A path has at most 53 hashes; an entry at most 64 KiB. */
export const MOST_PROOF_BYTES = 256 * 1024;

/**
 * @returns the text of the file; its `extra` holds the entry as it was hashed, and the certificate of the key that signed.
 * @throws HoldfastError `not_found`; `integrity_failure` when the entry has no place any more, or the log cannot be signed.
 */
export async function makeEntryProof(deps: CheckpointDeps, id: string): Promise<string> {
  const known = await findNewestCheckpoint(deps.db);
  let placed = await findPlacedEntry(deps.db, id);
  if (placed === undefined) throw new HoldfastError('not_found', 'There is no such entry');
  // Written since the last checkpoint: one is signed now.
  const covered = known !== undefined && placed.position !== null && placed.position < known.size;
  const checkpoint = covered ? known : await makeCheckpoint(deps);
  placed = await findPlacedEntry(deps.db, id);
  const position = placed?.position ?? null;
  if (placed === undefined || position === null || position >= checkpoint.size) throw noPlace();
  const path = await readInclusionProof(deps.db, position, checkpoint.size);
  const extra = JSON.stringify({ entry: entryLine(placed.entry), certificate: checkpoint.certificate });
  return [
    FIRST_LINE,
    `extra ${Buffer.from(extra).toString('base64')}`,
    `index ${position}`,
    ...path.map((hash) => hash.toString('base64')),
    '',
    checkpoint.note,
  ].join('\n');
}

export interface VerifiedEntry {
  /** Canonical JSON. */
  entry: Record<string, unknown>;
  position: number;
  head: SignedHead;
}

/** True for the beginning of a proof. */
export function isEntryProof(start: string): boolean {
  return start.startsWith(FIRST_LINE);
}

/**
 * Checks a proof with nothing but the file and whom to believe.
 *
 * @throws HoldfastError `integrity_failure` with what does not hold.
 */
export function verifyEntryProof(text: string, trust: LogTrust): VerifiedEntry {
  const { extra, position, path, note } = parseProof(text);
  const { entry, certificate } = parseExtra(extra);
  const repositoryId = trust.repositoryId ?? repositoryOf(note.split('\n', 1)[0] ?? '');
  const key = trust.keyOf(certificate, repositoryId);
  const head = readSignedHead(note, key === undefined ? trust.pinned : [...trust.pinned, key]);
  if (head === undefined || repositoryOf(head.origin) !== repositoryId) {
    throw notProven('its checkpoint is not signed by a key that is believed');
  }
  const content = JSON.parse(entry) as Record<string, unknown>;
  const leafHash = hashStub(stubOfLine(Buffer.from(entry), content));
  if (!verifyInclusion({ leafHash, position, size: head.size, path, root: head.root })) {
    throw notProven('the entry is not in the log of that checkpoint');
  }
  return { entry: content, position, head };
}

function parseProof(text: string) {
  const gap = text.indexOf('\n\n');
  const [first, extra = '', index = '', ...hashes] = text.slice(0, Math.max(0, gap)).split('\n');
  const position = /^index (0|[1-9]\d{0,15})$/.exec(index)?.[1];
  const path = hashes.map((hash) => Buffer.from(hash, 'base64'));
  if (first !== FIRST_LINE || !extra.startsWith('extra ') || position === undefined) {
    throw notProven('it is not a proof of an audit entry');
  }
  const content = Buffer.from(extra.slice('extra '.length), 'base64').toString('utf8');
  return { extra: content, position: Number(position), path, note: text.slice(gap + 2) };
}

function parseExtra(extra: string): { entry: string; certificate: string } {
  try {
    const { entry, certificate } = JSON.parse(extra) as { entry?: unknown; certificate?: unknown };
    if (typeof entry === 'string' && typeof certificate === 'string') return { entry, certificate };
  } catch {
    // Said below.
  }
  throw notProven('it does not hold the entry');
}

function notProven(why: string): HoldfastError {
  return new HoldfastError('integrity_failure', `This proof does not hold: ${why}`);
}

function noPlace(): HoldfastError {
  return new HoldfastError('integrity_failure', 'This entry has no place in the log', {
    hint: 'Somebody changed the database past Holdfast. Verify the log: it says what is missing.',
  });
}
