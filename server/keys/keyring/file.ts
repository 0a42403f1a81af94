/**
 * The keyring on disk. Guarantees: when `append` resolves, its records survive a power cut; after a crash at any instant the
 * keyring is what all resolved appends made it, or that plus some of those under way. A destroyed key is in no file of the
 * keyring when the append that dropped it resolves.
 *
 * A change counts in memory at once, so that a disabled key stops at once. Whoever hands out a key waits for `settled` first:
 * nothing may be encrypted under a key that a power cut would take away. When the disk refuses a change, the keyring is read
 * again from disk and everything under way fails.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError, isSystemError, messageOf } from '../../lib/errors.ts';
import { explainWriteError } from '../../lib/files.ts';
import { lockProcess, type ProcessLock } from '../../lib/process-lock.ts';
import { destroyOtherEpochs, keyringPaths, readCurrent, writeEpoch } from './layout.ts';
import { type LoadedEpoch, loadEpoch, prepareKeyring, type PrepareOptions, sealBase } from './load.ts';
import { encodeLogRecord } from './log.ts';
import { applyRecord, encodeRecord, type Keyring, type KeyringRecord, wipeKeyring } from './model.ts';

/** A log shorter than this is never compacted for its length. */
const MIN_LONG_LOG_BYTES = 4 * 1024 * 1024;
/** Changes that go into one record; more wait for the next. */
const MAX_BATCH = 2_000;

export interface KeyringFile {
  /** The keyring as it counts now. Do not keep it across an await: a failed write replaces it. */
  keyring(): Keyring;
  /** What was found and healed when it was opened. */
  readonly notices: readonly string[];
  /** Applies changes at once. @returns when they are durable. @throws no_space, unavailable; then nothing of it counts. */
  append(records: readonly KeyringRecord[]): Promise<void>;
  /** Resolves when everything applied so far is durable. */
  settled(): Promise<void>;
  /** Starts a new epoch now. */
  rewrite(): Promise<void>;
  /** Number of the epoch on disk. */
  epoch(): number;
  close(): Promise<void>;
}

interface OpenOptions extends PrepareOptions {
  /** Called when the disk state is unknown, after which every append fails: end the process and start again. */
  onBroken?: (error: unknown) => void;
}

interface Waiting {
  records: readonly KeyringRecord[];
  done: PromiseWithResolvers<void>;
}

/**
 * Opens the keyring, making an empty one on first use.
 *
 * @throws locked when another keyd has it; wrong_key for a root key of another keyring, or none; integrity_failure when
 *   anything acknowledged is missing or changed; wrong_state for a newer format.
 */
export async function openKeyringFile(options: OpenOptions): Promise<KeyringFile> {
  const lock = lockProcess(keyringPaths.lock(options.directory), 'the keyring of this data folder');
  try {
    const notices: string[] = [];
    const root = await prepareKeyring(options);
    const loaded = await loadEpoch(options.directory, root, notices);
    const removed = await destroyOtherEpochs(options.directory, loaded.epoch);
    if (removed > 0) notices.push(`${removed} unfinished or superseded keyring epochs were removed`);
    const file = keep(options, root, loaded, notices, lock);
    if (loaded.keyring.dropped) await file.rewrite();
    return file;
  } catch (error) {
    lock.release();
    throw error;
  }
}

function keep(
  options: OpenOptions,
  root: Buffer,
  first: LoadedEpoch,
  notices: string[],
  lock: ProcessLock,
): KeyringFile {
  let state = first;
  let waiting: Waiting[] = [];
  let working: Promise<void> | undefined;
  let last: Promise<void> = Promise.resolve();
  let broken: HoldfastError | undefined;
  let rewriteAboveBytes = 0;
  let closed = false;

  const isLong = () => state.logBytes > Math.max(MIN_LONG_LOG_BYTES, state.baseBytes, rewriteAboveBytes);

  async function work(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting.splice(0, MAX_BATCH);
      try {
        await write(batch.flatMap((entry) => entry.records));
      } catch (error) {
        const failed = [...batch, ...waiting];
        waiting = [];
        const shown = await reload(error);
        for (const entry of failed) entry.done.reject(shown);
        continue;
      }
      const failure =
        state.keyring.dropped || isLong() ? await startEpoch().catch((error: unknown) => error) : undefined;
      for (const entry of batch) {
        // A destruction is done when no file holds the key; any other change was durable before.
        const destroys = entry.records.some((record) => record.kind === 'drop');
        if (failure !== undefined && destroys) entry.done.reject(failure);
        else entry.done.resolve();
      }
    }
  }

  async function write(records: readonly KeyringRecord[]): Promise<void> {
    const lines = records.map(encodeRecord).join('');
    if (lines === '') return;
    const bytes = encodeLogRecord(state.epochKey, state.epoch, state.sequence + 1, lines);
    await writeAll(state.log, bytes, state.logBytes);
    crashPoint('keyring.log.written');
    await state.log.sync();
    crashPoint('keyring.log.synced');
    const back = Buffer.alloc(bytes.length);
    await state.log.read(back, 0, back.length, state.logBytes);
    if (!back.equals(bytes)) {
      throw new HoldfastError(
        'integrity_failure',
        'The disk gave back something else than was written to the keyring',
      );
    }
    state = { ...state, logBytes: state.logBytes + bytes.length, sequence: state.sequence + 1 };
  }

  /** After a failed write: back to what is on disk. @returns the error to show. */
  async function reload(error: unknown): Promise<unknown> {
    const shown = explainWriteError(error, 'the keyring');
    try {
      await state.log.truncate(state.logBytes);
      await state.log.sync();
      await state.log.close();
      const before = state;
      const revision = state.keyring.revision;
      state = await loadEpoch(options.directory, root, notices);
      state.keyring.revision = revision + 1;
      state.keyring.keyRevision = before.keyring.keyRevision + 1;
      wipeKeyring(before.keyring);
    } catch (cause) {
      breakDown(cause);
    }
    // The first failing fsync tells of lost pages, later ones may not: only a fresh reader knows what is there.
    if (isSystemError(error, 'EIO')) breakDown(error);
    return shown;
  }

  function breakDown(cause: unknown): void {
    broken = new HoldfastError(
      'unavailable',
      'The keyring cannot be written, and its state on disk is not certain',
      {
        hint: 'Check the disk under the data folder; the key service starts again by itself.',
        cause,
      },
    );
    options.onBroken?.(cause);
  }

  async function startEpoch(): Promise<void> {
    const { keyring } = state;
    const epoch = state.epoch + 1;
    const epochKey = randomBytes(32);
    const base = sealBase(epochKey, epoch, keyring);
    // What is destroyed from here on is still in this base, and asks for another.
    const destroying = keyring.dropped;
    keyring.dropped = false;
    try {
      await writeEpoch(options.directory, epoch, { root, epochKey }, base);
    } catch (error) {
      const shown = explainWriteError(error, 'the keyring');
      const onDisk = await readCurrent(options.directory).catch(() => undefined);
      if (onDisk?.epoch !== state.epoch) breakDown(error);
      notices.push(`the keyring could not be rewritten: ${messageOf(shown)}`);
      rewriteAboveBytes = state.logBytes + MIN_LONG_LOG_BYTES;
      keyring.dropped ||= destroying;
      throw shown;
    }
    await state.log.close();
    state.epochKey.fill(0);
    const log = await open(keyringPaths.log(options.directory, epoch), 'r+');
    state = { keyring, epoch, epochKey, log, logBytes: 0, sequence: 0, baseBytes: base.length };
    rewriteAboveBytes = 0;
    try {
      await destroyOtherEpochs(options.directory, epoch);
    } catch (error) {
      keyring.dropped = true;
      throw error;
    }
  }

  function start(): Promise<void> {
    working ??= work().finally(() => {
      working = undefined;
      if (waiting.length > 0) void start();
    });
    return working;
  }

  return {
    keyring: () => state.keyring,
    notices,
    epoch: () => state.epoch,
    async append(records) {
      if (broken) throw broken;
      if (closed) throw new HoldfastError('unavailable', 'The keyring is closed');
      for (const record of records) applyRecord(state.keyring, record);
      const done: PromiseWithResolvers<void> = Promise.withResolvers();
      waiting.push({ records, done });
      last = done.promise;
      void start();
      await done.promise;
    },
    async settled() {
      // A change that failed is not in the keyring any more: what is there is durable all the same.
      await last.catch(() => undefined);
      if (broken) throw broken;
    },
    async rewrite() {
      while (working) await working;
      working = startEpoch().finally(() => {
        working = undefined;
        if (waiting.length > 0) void start();
      });
      await working;
    },
    async close() {
      closed = true;
      while (working) await working;
      await state.log.close();
      state.epochKey.fill(0);
      root.fill(0);
      wipeKeyring(state.keyring);
      lock.release();
    },
  };
}

/** A disk that is nearly full takes a part of a write without an error; only the next write gets it. */
async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
