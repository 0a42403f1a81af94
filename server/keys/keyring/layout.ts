/**
 * The files of a keyring and their order of writing. `current` names the epoch; its key, base and log were durable before
 * `current` named them, so a missing one is a loss and never a fresh start.
 *
 * ```
 * current          {"type":"holdfast-keyring","format":1,"epoch":3,"rootKeyId":"…"}
 * epoch-3.key      {"epoch":3,"wrappedKey":"…"}      the epoch key, wrapped by the root key
 * base-3           sealed JSON Lines: every key when the epoch began
 * log-3            sealed records since
 * ```
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import {
  overwriteFile,
  readFileIfPresent,
  syncDirectory,
  TEMPORARY_PREFIX,
  writeFileDurably,
} from '../../lib/files.ts';
import { rootKeyId, wrapEpochKey } from './root-key.ts';

/** Grows when an older program could no longer read the keyring. */
const KEYRING_FORMAT = 1;

export interface CurrentEpoch {
  epoch: number;
  rootKeyId: string;
}

export const keyringPaths = {
  current: (directory: string) => join(directory, 'current'),
  epochKey: (directory: string, epoch: number) => join(directory, `epoch-${epoch}.key`),
  base: (directory: string, epoch: number) => join(directory, `base-${epoch}`),
  log: (directory: string, epoch: number) => join(directory, `log-${epoch}`),
  lock: (directory: string) => join(directory, 'lock'),
  /** The newest base composed for the repository, as published. */
  published: (directory: string) => join(directory, 'published.age'),
};

const EPOCH_FILE = /^(?:epoch-(\d+)\.key|base-(\d+)|log-(\d+))$/;

/**
 * The epoch in use; undefined for a directory that never held a keyring.
 *
 * @throws wrong_state for a newer format; integrity_failure when `current` is damaged, or gone while a keyring is there.
 */
export async function readCurrent(directory: string): Promise<CurrentEpoch | undefined> {
  const content = await readFileIfPresent(keyringPaths.current(directory));
  if (content === undefined) {
    const names = await readdir(directory);
    // A first start that was cut off leaves at most these; anything more was in use.
    const inUse = names.filter(
      (name) => EPOCH_FILE.test(name) && !/^(epoch-1\.key|base-1|log-1)$/.test(name),
    );
    const logSize = (await readFileIfPresent(keyringPaths.log(directory, 1)))?.length ?? 0;
    if (inUse.length === 0 && logSize === 0) return undefined;
    throw lost(directory, 'current');
  }
  let value: { type?: unknown; format?: unknown; epoch?: unknown; rootKeyId?: unknown } = {};
  try {
    value = JSON.parse(content.toString('utf8')) as typeof value;
  } catch {
    // Said below.
  }
  if (value.type !== 'holdfast-keyring' || typeof value.format !== 'number') throw lost(directory, 'current');
  if (value.format > KEYRING_FORMAT) {
    throw new HoldfastError('wrong_state', 'The keyring was written by a newer Holdfast', {
      hint: `Its format is ${value.format}, this program knows ${KEYRING_FORMAT}. Start the newer version. Nothing was changed.`,
    });
  }
  if (!Number.isSafeInteger(value.epoch) || typeof value.rootKeyId !== 'string')
    throw lost(directory, 'current');
  return { epoch: Number(value.epoch), rootKeyId: value.rootKeyId };
}

/** @throws integrity_failure when the file is not there. */
export async function readPart(directory: string, path: string): Promise<Buffer> {
  const content = await readFileIfPresent(path);
  if (content === undefined) throw lost(directory, path);
  return content;
}

/**
 * Writes a new epoch and switches to it. Until `current` is renamed the old epoch counts; afterwards the new one.
 *
 * @param base the sealed base.
 */
export async function writeEpoch(
  directory: string,
  epoch: number,
  keys: { root: Uint8Array; epochKey: Uint8Array },
  base: Buffer,
): Promise<void> {
  const wrappedKey = wrapEpochKey(keys.root, epoch, keys.epochKey);
  await writeAndReadBack(
    keyringPaths.epochKey(directory, epoch),
    Buffer.from(`${JSON.stringify({ epoch, wrappedKey })}\n`),
    'keyring.epoch-key',
  );
  await writeAndReadBack(keyringPaths.base(directory, epoch), base, 'keyring.base');
  await writeAndReadBack(keyringPaths.log(directory, epoch), Buffer.alloc(0), 'keyring.new-log');
  const current = {
    type: 'holdfast-keyring',
    format: KEYRING_FORMAT,
    epoch,
    rootKeyId: rootKeyId(keys.root),
  };
  await writeAndReadBack(
    keyringPaths.current(directory),
    Buffer.from(`${JSON.stringify(current)}\n`),
    'keyring.current',
  );
}

/** Writes a file durably and compares what is there. @throws integrity_failure */
export async function writeAndReadBack(path: string, bytes: Buffer, step: string): Promise<void> {
  await writeFileDurably(path, bytes, { step });
  const written = await readFileIfPresent(path);
  if (written?.equals(bytes) !== true) {
    throw new HoldfastError('integrity_failure', 'The disk gave back something else than was written', {
      hint: 'Check the disk under the data folder. The keyring before this change is still in use.',
      detail: path,
    });
  }
}

/**
 * Destroys every epoch but the one in use: the wrapped key is overwritten, then all files are removed. Overwriting reaches the
 * same blocks on most file systems, not on copy-on-write ones nor inside an SSD; there the root key is what keeps it closed.
 *
 * @returns how many epochs were removed.
 */
export async function destroyOtherEpochs(directory: string, epoch: number): Promise<number> {
  const removed = new Set<number>();
  const names = await readdir(directory);
  // Keys first: without its key nothing of an epoch can be read.
  names.sort((left, right) => Number(right.startsWith('epoch-')) - Number(left.startsWith('epoch-')));
  for (const name of names) {
    const path = join(directory, name);
    if (name.startsWith(TEMPORARY_PREFIX)) await rm(path, { force: true });
    const match = EPOCH_FILE.exec(name);
    const other = Number(match?.[1] ?? match?.[2] ?? match?.[3] ?? epoch);
    if (!match || other === epoch) continue;
    if (match[1] !== undefined) {
      await overwriteFile(path);
      crashPoint('keyring.old-epoch.overwritten');
    }
    await rm(path);
    crashPoint('keyring.old-epoch.removed');
    removed.add(other);
  }
  if (removed.size > 0) await syncDirectory(directory);
  return removed.size;
}

function lost(directory: string, what: string): HoldfastError {
  return new HoldfastError('integrity_failure', 'A part of the keyring is missing or damaged', {
    hint: 'Nothing was changed. Put the keyring folder back as it was, or recover from a backup with the recovery kit.',
    detail: `${directory}: ${what}`,
  });
}
