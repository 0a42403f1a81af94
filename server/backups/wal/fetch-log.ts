/**
 * Brings pieces of the log from a target into the folder of a restored database, where PostgreSQL reads them in its recovery.
 *
 * Guarantees: what is written there is signed by the repository's keys, says the same as its name, and continues what was before, the
 * first piece what the snapshot itself brought; a piece that is missing, damaged, exchanged or of a copy of the appliance is named, and
 * nothing is recovered over it.
 */
import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError } from '../../lib/errors.ts';
import { formatLsn, parseLsn, walFileName } from '../../lib/postgres/index.ts';
import type { RepositoryReadKeys, Target } from '../engine.ts';
import { openObject, readObject, signingKeysOf } from '../repository/object-store.ts';
import type { PointPlan } from './plan-point.ts';
import { walPieceName, type WalPieceName } from './wal-names.ts';
import { decodeWalPiece, type WalPiece } from './wal-piece.ts';

export interface FetchedLog {
  pieces: number;
  /** Of the log itself. */
  bytes: number;
  /** The last piece: it says which files and keys are needed. */
  last: WalPiece | undefined;
}

interface FetchOptions {
  target: Target;
  keys: RepositoryReadKeys;
  plan: PointPlan;
  /** Of the restored database. */
  clusterDir: string;
  segmentBytes: number;
  /** Not a byte of the log from here on. */
  stopAt?: bigint | undefined;
  signal: AbortSignal;
  progress?: (bytes: number) => void;
}

/** @throws HoldfastError `integrity_failure` naming the piece; `cancelled` */
export async function fetchLog(options: FetchOptions): Promise<FetchedLog> {
  const { plan } = options;
  const files = createSegments(options);
  let before = await readAnchor(options);
  let bytes = 0;
  try {
    for (const name of plan.pieces) {
      options.signal.throwIfAborted();
      const read = await readPiece(options, name);
      if (name.from < plan.base.endLsn) await checkFollows(options, name, read.bytes);
      if (before !== undefined) checkContinues(before, read.piece, name);
      before = { piece: read.piece, sha256: name.sha256 };
      await files.write(name.from, kept(read.bytes, name, options.stopAt));
      bytes += read.bytes.length;
      options.progress?.(bytes);
    }
    if (options.stopAt !== undefined) await files.clearFrom(options.stopAt);
  } finally {
    await files.close();
  }
  return { pieces: plan.pieces.length, bytes, last: plan.pieces.length === 0 ? undefined : before?.piece };
}

interface ReadPiece {
  piece: WalPiece;
  sha256: string;
}

/** The piece that ends where the snapshot does, when there is one and the first needed piece does not reach before that. */
async function readAnchor(options: FetchOptions): Promise<ReadPiece | undefined> {
  const { base, pieces, window } = options.plan;
  if (pieces[0]?.from !== base.endLsn) return undefined;
  const name = window.stretch.pieces.find((piece) => piece.to === base.endLsn);
  if (name === undefined) return undefined;
  const read = await readPiece(options, name);
  await checkFollows(options, name, read.bytes);
  return { piece: read.piece, sha256: name.sha256 };
}

/**
 * The snapshot brought the log up to its end, with a record there that only it has. A copy of the appliance has written something else
 * at the same positions, under the same name, until one of them was noticed.
 */
async function checkFollows(
  { clusterDir, segmentBytes, plan: { base } }: FetchOptions,
  name: WalPieceName,
  bytes: Buffer,
): Promise<void> {
  const size = BigInt(segmentBytes);
  const own = bytes.subarray(0, Number(base.endLsn - name.from));
  const brought = Buffer.alloc(own.length);
  const file = await open(join(clusterDir, 'pg_wal', walFileName(base.timeline, name.from / size, size)));
  try {
    await file.read(brought, 0, brought.length, Number(name.from % size));
  } finally {
    await file.close();
  }
  if (own.equals(brought)) return;
  throw new HoldfastError(
    'integrity_failure',
    `The write-ahead log on this target does not go on from snapshot ${String(base.number)}: a copy of the appliance has shipped what follows it`,
    {
      hint: 'Restore the snapshot itself, a moment before it, or one after a later snapshot.',
      detail: walPieceName(name),
    },
  );
}

function kept(bytes: Buffer, name: WalPieceName, stopAt: bigint | undefined): Buffer {
  if (stopAt === undefined || stopAt >= name.to) return bytes;
  return bytes.subarray(0, Number(stopAt - name.from));
}

/** Checked: signed, and as its name says. @throws HoldfastError `integrity_failure` naming it */
export async function readPiece(
  { target, keys }: Pick<FetchOptions, 'target' | 'keys'>,
  name: WalPieceName,
): Promise<{ piece: WalPiece; bytes: Buffer }> {
  try {
    const stored = await readObject(target, 'wal', walPieceName(name), name.sha256);
    const read = decodeWalPiece(
      await openObject(stored, keys),
      { repositoryId: keys.repositoryId },
      signingKeysOf(keys),
    );
    const { piece } = read;
    const same =
      piece.systemId === name.systemId &&
      piece.timeline === name.timeline &&
      piece.life === name.life &&
      parseLsn(piece.from) === name.from &&
      parseLsn(piece.to) === name.to &&
      Date.parse(piece.completeAt) === name.atMs;
    if (same) return read;
    throw new HoldfastError('integrity_failure', 'It says something else than its name');
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    if (error.code === 'wrong_key') throw closed(name, error);
    if (!['integrity_failure', 'not_found'].includes(error.code)) throw error;
    throw broken(name, error);
  }
}

/** A piece between two that is not there would show by its number and hash, whatever the names say. */
function checkContinues(before: ReadPiece, piece: WalPiece, name: WalPieceName): void {
  const whole =
    piece.number === before.piece.number + 1 && piece.previous === before.sha256 && piece.gap === null;
  if (whole) return;
  throw broken(name, new HoldfastError('integrity_failure', 'It does not continue the piece before it'));
}

/** Re-keyed since: nothing is wrong with the piece. */
function closed(name: WalPieceName, cause: HoldfastError): HoldfastError {
  const until = new Date(name.atMs).toISOString();
  return new HoldfastError(
    'wrong_key',
    `The piece ${formatLsn(name.from)} to ${formatLsn(name.to)} of the write-ahead log, up to ${until}, does not open: ${cause.message}`,
    {
      hint: 'Take a recovery kit that is in use, or choose a moment before the repository was re-keyed.',
      detail: walPieceName(name),
      cause,
    },
  );
}

function broken(name: WalPieceName, cause: HoldfastError): HoldfastError {
  const range = `${formatLsn(name.from)} to ${formatLsn(name.to)}`;
  return new HoldfastError(
    'integrity_failure',
    `The piece ${range} of the write-ahead log is missing or damaged on this target: ${cause.message}`,
    {
      hint: 'Choose a moment before it, or another target. A piece is never left out.',
      detail: walPieceName(name),
      cause,
    },
  );
}

/** Segment files of PostgreSQL, as long as it expects them; what is not written is zeros, where its recovery ends. */
function createSegments({ clusterDir, segmentBytes, plan }: FetchOptions) {
  const folder = join(clusterDir, 'pg_wal');
  const size = BigInt(segmentBytes);
  let current: { name: string; file: FileHandle } | undefined;
  const openSegment = async (name: string): Promise<FileHandle> => {
    if (current?.name === name) return current.file;
    await close();
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, name);
    const file = await open(path, 'r+').catch(() => open(path, 'wx+', 0o600));
    current = { name, file };
    if ((await file.stat()).size < segmentBytes) await file.truncate(segmentBytes);
    return file;
  };
  const close = async (): Promise<void> => {
    const was = current;
    current = undefined;
    await was?.file.sync();
    await was?.file.close();
  };
  return {
    async write(from: bigint, bytes: Buffer): Promise<void> {
      for (let at = 0; at < bytes.length;) {
        const position = from + BigInt(at);
        const offset = Number(position % size);
        const length = Math.min(bytes.length - at, segmentBytes - offset);
        const file = await openSegment(walFileName(plan.base.timeline, position / size, size));
        await file.write(bytes, at, length, offset);
        at += length;
      }
    },
    /** The snapshot brought whole pages: what it has beyond the chosen position must not be applied. */
    async clearFrom(position: bigint): Promise<void> {
      const offset = Number(position % size);
      const file = await openSegment(walFileName(plan.base.timeline, position / size, size));
      await file.truncate(offset);
      await file.truncate(segmentBytes);
    },
    close,
  };
}
