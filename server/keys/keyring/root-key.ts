/**
 * The root key R and what is wrapped with it. R opens the keyring on this machine and nothing else; it is in no backup. Here it
 * lies in a file (the embedded default); other unlock ways hand over the same 32 bytes.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { HoldfastError } from '../../lib/errors.ts';
import { readFileIfPresent, writeFileDurably } from '../../lib/files.ts';

/** A way to get R. */
export interface RootKeySource {
  /** @returns 32 bytes, which the caller zeroes; undefined when there is none. @throws wrong_key when it is damaged. */
  read(): Promise<Buffer | undefined>;
  /** Makes a new one, never over an existing one. */
  create(): Promise<Buffer>;
}

/** Where the embedded default keeps R: in the keyring's own directory. */
export function rootKeyPath(keyringDirectory: string): string {
  return join(keyringDirectory, 'root.key');
}

const FILE_FORMAT = /^holdfast-root-key\/1 ([A-Za-z0-9+/]{43}=)\n$/;

/** R in a file of this machine, mode 0600. Who can read the file and the keyring can read everything. */
export function rootKeyFile(path: string): RootKeySource {
  return {
    async read() {
      const content = await readFileIfPresent(path);
      if (content === undefined) return undefined;
      const key = FILE_FORMAT.exec(content.toString('latin1'))?.[1];
      content.fill(0);
      if (key !== undefined) return Buffer.from(key, 'base64');
      throw wrongRootKey('The root key file is damaged', path);
    },
    async create() {
      const key = randomBytes(32);
      const content = `holdfast-root-key/1 ${key.toString('base64')}\n`;
      await writeFileDurably(path, content, { exclusive: true, step: 'keyring.root-key' });
      return key;
    },
  };
}

/** R that an unlock way of the machine put into a file, in the same form. It is never made here. */
export function givenRootKey(path: string): RootKeySource {
  return {
    read: rootKeyFile(path).read,
    create: () =>
      Promise.reject(
        new HoldfastError('unavailable', 'The machine has not handed over the root key', {
          hint: 'Unlock the appliance first, on its unlock page or at its console.',
          detail: path,
        }),
      ),
  };
}

/** What the operator reads when R is missing, damaged or another keyring's. */
export function wrongRootKey(message: string, detail: string): HoldfastError {
  return new HoldfastError('wrong_key', message, {
    hint: 'Put back the root.key that belongs to this data folder, or recover from a backup with the recovery kit.',
    detail,
  });
}

/** Tells root keys apart without saying anything about them: 16 hex digits. */
export function rootKeyId(root: Uint8Array): string {
  return Buffer.from(hkdfSync('sha256', root, '', 'holdfast/root-key-id/1', 8)).toString('hex');
}

/** Wraps an epoch key: nonce, AES-256-GCM ciphertext, tag; in base64. */
export function wrapEpochKey(root: Uint8Array, epoch: number, epochKey: Uint8Array): string {
  const wrapKey = Buffer.from(hkdfSync('sha256', root, '', 'holdfast/keyring-wrap/1', 32));
  const wrapped = sealBlock(wrapKey, ['holdfast/keyring-epoch/1', String(epoch)], epochKey);
  wrapKey.fill(0);
  return wrapped.toString('base64');
}

/** @throws integrity_failure */
export function unwrapEpochKey(root: Uint8Array, epoch: number, wrapped: string): Buffer {
  const wrapKey = Buffer.from(hkdfSync('sha256', root, '', 'holdfast/keyring-wrap/1', 32));
  try {
    return openBlock(wrapKey, ['holdfast/keyring-epoch/1', String(epoch)], Buffer.from(wrapped, 'base64'));
  } finally {
    wrapKey.fill(0);
  }
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Bytes that `sealBlock` adds. */
export const BLOCK_OVERHEAD = NONCE_BYTES + TAG_BYTES;

/** AES-256-GCM with a random nonce in front and the JSON of `context` as additional data. */
export function sealBlock(key: Uint8Array, context: readonly string[], plaintext: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(Buffer.from(JSON.stringify(context)));
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** @throws integrity_failure when it was changed or belongs elsewhere. */
export function openBlock(key: Uint8Array, context: readonly string[], sealed: Uint8Array): Buffer {
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES));
    decipher.setAAD(Buffer.from(JSON.stringify(context)));
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    const plaintext = decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES));
    decipher.final();
    return plaintext;
  } catch (cause) {
    throw new HoldfastError('integrity_failure', 'A part of the keyring file is damaged', {
      hint: 'Nothing was changed. Recover the keyring from a backup with the recovery kit.',
      detail: context.join(' '),
      cause,
    });
  }
}
