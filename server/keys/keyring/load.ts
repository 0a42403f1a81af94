/** Opening a keyring's files: the root key, the epoch in use, its base and its log. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { type CurrentEpoch, keyringPaths, readCurrent, readPart, writeEpoch } from './layout.ts';
import { decodeLog } from './log.ts';
import { applyLines, emptyKeyring, encodeKeyring, type Keyring } from './model.ts';
import {
  openBlock,
  rootKeyId,
  type RootKeySource,
  sealBlock,
  unwrapEpochKey,
  wrongRootKey,
} from './root-key.ts';

export interface PrepareOptions {
  /** Exists already, mode 0700. */
  directory: string;
  rootKey: RootKeySource;
  /** What a new keyring starts with; refused when there is one already. For recovery. */
  restore?: Keyring;
}

/** An epoch as read, and its log open for appending. */
export interface LoadedEpoch {
  keyring: Keyring;
  epoch: number;
  epochKey: Buffer;
  log: FileHandle;
  logBytes: number;
  /** Records in the log. */
  sequence: number;
  baseBytes: number;
}

/** @returns the root key, with a keyring on disk that it opens. */
export async function prepareKeyring(options: PrepareOptions): Promise<Buffer> {
  const { directory, rootKey } = options;
  const current = await readCurrent(directory);
  if (current) {
    if (options.restore) {
      throw new HoldfastError('conflict', 'There is a keyring in this folder already', {
        hint: 'Recover into an empty folder.',
      });
    }
    return readRootKey(rootKey, current);
  }
  const root = (await rootKey.read()) ?? (await rootKey.create());
  const epochKey = randomBytes(32);
  await writeEpoch(
    directory,
    1,
    { root, epochKey },
    sealBase(epochKey, 1, options.restore ?? emptyKeyring()),
  );
  epochKey.fill(0);
  return root;
}

async function readRootKey(source: RootKeySource, current: CurrentEpoch): Promise<Buffer> {
  const root = await source.read();
  if (!root) throw wrongRootKey('The root key is missing', `the keyring wants ${current.rootKeyId}`);
  if (rootKeyId(root) === current.rootKeyId) return root;
  throw wrongRootKey(
    'This root key does not open this keyring',
    `the keyring wants ${current.rootKeyId}, the root key is ${rootKeyId(root)}`,
  );
}

/** A whole keyring, sealed under an epoch key. */
export function sealBase(epochKey: Uint8Array, epoch: number, keyring: Keyring): Buffer {
  const plaintext = Buffer.from(encodeKeyring(keyring).join(''));
  const sealed = sealBlock(epochKey, ['holdfast/keyring-base/1', String(epoch)], plaintext);
  plaintext.fill(0);
  return sealed;
}

/**
 * Reads the epoch in use and cuts off a torn record.
 *
 * @param notices what was healed is added here.
 */
export async function loadEpoch(
  directory: string,
  root: Uint8Array,
  notices: string[],
): Promise<LoadedEpoch> {
  const current = await readCurrent(directory);
  if (!current) throw new HoldfastError('integrity_failure', 'The keyring has gone');
  const { epoch } = current;
  const epochKey = readEpochKey(
    root,
    epoch,
    await readPart(directory, keyringPaths.epochKey(directory, epoch)),
  );
  const sealedBase = await readPart(directory, keyringPaths.base(directory, epoch));
  const base = openBlock(epochKey, ['holdfast/keyring-base/1', String(epoch)], sealedBase);
  const keyring = emptyKeyring();
  applyLines(keyring, base.toString('utf8'));
  base.fill(0);
  const logPath = keyringPaths.log(directory, epoch);
  const content = decodeLog(epochKey, epoch, await readPart(directory, logPath));
  for (const lines of content.records) applyLines(keyring, lines);
  const log = await open(logPath, 'r+');
  if (content.tornBytes > 0) {
    await log.truncate(content.length);
    crashPoint('keyring.log.truncated');
    await log.sync();
    notices.push(
      `a record of ${content.tornBytes} bytes that power loss cut off was dropped from the keyring log`,
    );
  }
  return {
    keyring,
    epoch,
    epochKey,
    log,
    logBytes: content.length,
    sequence: content.records.length,
    baseBytes: sealedBase.length,
  };
}

function readEpochKey(root: Uint8Array, epoch: number, content: Buffer): Buffer {
  let wrapped: unknown;
  try {
    wrapped = (JSON.parse(content.toString('utf8')) as { wrappedKey?: unknown }).wrappedKey;
  } catch {
    // An empty string opens nothing, which says the same.
  }
  return unwrapEpochKey(root, epoch, typeof wrapped === 'string' ? wrapped : '');
}
