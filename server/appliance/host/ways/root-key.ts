/**
 * The root key R on a machine image: in memory while the machine runs (a file on a memory disk that only root reads and systemd
 * hands to keyd), and wrapped once for each way that unlocks. Never on the data volume, never in a backup.
 */
import {
  argon2,
  createCipheriv,
  createDecipheriv,
  hkdfSync,
  randomBytes,
  type Argon2Parameters,
} from 'node:crypto';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError } from '../../../lib/errors.ts';
import { readFileIfPresent, writeFileDurably } from '../../../lib/files.ts';
import type { HostPlaces } from '../host-places.ts';
import type { WayKind } from '../schema.ts';
import type { SecretKind } from '../volume/luks.ts';
import { secretKindOf, type StoredWay, type WayKdf } from './file.ts';

const KEY_BYTES = 32;
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

const KDF: Record<SecretKind, WayKdf> = {
  /** The same cost as the LUKS key slots have: guessing at one is no cheaper than at the other. */
  guessable: { name: 'argon2id', memoryKib: 65_536, passes: 4, parallelism: 1 },
  /** A costly derivation would add nothing. */
  random: { name: 'hkdf-sha256' },
};

export function makeRootKey(): Buffer {
  return randomBytes(KEY_BYTES);
}

export function rootKeyFile(places: Pick<HostPlaces, 'run'>): string {
  return join(places.run, 'root.key');
}

/** In the form that keyd reads. */
export async function placeRootKey(places: Pick<HostPlaces, 'run'>, root: Buffer): Promise<void> {
  await writeFileDurably(rootKeyFile(places), `holdfast-root-key/1 ${root.toString('base64')}\n`, {
    mode: 0o400,
    step: 'host.root-key',
  });
  await chmod(rootKeyFile(places), 0o400);
}

/** @throws HoldfastError `wrong_state` while the machine is locked. */
export async function readPlacedRootKey(places: Pick<HostPlaces, 'run'>): Promise<Buffer> {
  const content = await readFileIfPresent(rootKeyFile(places));
  const key = /^holdfast-root-key\/1 ([A-Za-z0-9+/]{43}=)\n$/.exec(content?.toString('latin1') ?? '')?.[1];
  content?.fill(0);
  if (key !== undefined) return Buffer.from(key, 'base64');
  throw new HoldfastError('wrong_state', 'This machine is locked', {
    hint: 'Unlock it first, on its unlock page or at its console.',
  });
}

/** What binds a wrapped R to its place. */
export interface WayBinding {
  id: string;
  kind: WayKind;
  volumeUuid: string;
}

/** Wraps R by a way's secret. */
export async function wrapRootKey(
  root: Uint8Array,
  secret: string,
  binding: WayBinding,
): Promise<Pick<StoredWay, 'kdf' | 'salt' | 'wrappedRootKey'>> {
  const kdf = KDF[secretKindOf(binding.kind)];
  const salt = randomBytes(SALT_BYTES);
  const key = await deriveKey(secret, kdf, salt);
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(additionalData(binding));
  const sealed = Buffer.concat([nonce, cipher.update(root), cipher.final(), cipher.getAuthTag()]);
  key.fill(0);
  return { kdf, salt: salt.toString('base64'), wrappedRootKey: sealed.toString('base64') };
}

/** @throws HoldfastError `wrong_key` when the secret is another's or the entry was changed. */
export async function unwrapRootKey(
  way: Pick<StoredWay, 'id' | 'kind' | 'kdf' | 'salt' | 'wrappedRootKey'>,
  secret: string,
  volumeUuid: string,
): Promise<Buffer> {
  const key = await deriveKey(secret, way.kdf, Buffer.from(way.salt, 'base64'));
  const sealed = Buffer.from(way.wrappedRootKey, 'base64');
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(additionalData({ id: way.id, kind: way.kind, volumeUuid }));
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    const root = decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES));
    decipher.final();
    return root;
  } catch (cause) {
    throw new HoldfastError('wrong_key', 'This key does not open the root key of the appliance', {
      hint: 'Use another unlock way; if none works, recover from a backup with the recovery kit.',
      cause,
    });
  } finally {
    key.fill(0);
  }
}

async function deriveKey(secret: string, kdf: WayKdf, salt: Buffer): Promise<Buffer> {
  if (kdf.name === 'hkdf-sha256')
    return Buffer.from(hkdfSync('sha256', secret, salt, 'holdfast/root-key-way/1', KEY_BYTES));
  const parameters: Argon2Parameters = {
    message: secret,
    nonce: salt,
    parallelism: kdf.parallelism,
    tagLength: KEY_BYTES,
    memory: kdf.memoryKib,
    passes: kdf.passes,
  };
  return new Promise((resolve, reject) =>
    argon2('argon2id', parameters, (error, key) => (error ? reject(error) : resolve(key))),
  );
}

function additionalData({ id, kind, volumeUuid }: WayBinding): Buffer {
  return Buffer.from(JSON.stringify(['holdfast/root-key-way/1', volumeUuid, id, kind]));
}
