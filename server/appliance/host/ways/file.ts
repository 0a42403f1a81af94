/**
 * /state/unlock/ways.json: which ways open the data volume, each with the root key R wrapped by its secret. Nothing in it opens
 * anything without a secret that is not on this machine, or that only its TPM gives out.
 */
import { join } from 'node:path';
import { Type, type Static } from 'typebox';
import { Id, Instant } from '../../../lib/shapes.ts';
import type { HostPlaces } from '../host-places.ts';
import { WayKind, type UnlockWay } from '../schema.ts';
import { readStateFile, withStateLock, writeStateFile } from '../state-file.ts';
import type { SecretKind } from '../volume/luks.ts';

const Base64 = Type.String({ pattern: '^[A-Za-z0-9+/]+={0,2}$', maxLength: 64 * 1024 });
const orNull = Type.Union([Instant, Type.Null()]);

/** What an operator's hook prints may be a word that somebody chose. */
export function secretKindOf(kind: WayKind): SecretKind {
  return kind === 'recovery-key' || kind === 'tpm2' ? 'random' : 'guessable';
}

/** How the key that wraps R comes from the secret. */
export const WayKdf = Type.Union([
  Type.Object({
    name: Type.Literal('argon2id'),
    memoryKib: Type.Integer({ minimum: 1024, maximum: 4 * 1024 * 1024 }),
    passes: Type.Integer({ minimum: 1, maximum: 100 }),
    parallelism: Type.Integer({ minimum: 1, maximum: 16 }),
  }),
  Type.Object({ name: Type.Literal('hkdf-sha256') }),
]);
export type WayKdf = Static<typeof WayKdf>;

export const StoredWay = Type.Object({
  id: Id,
  kind: WayKind,
  label: Type.String({ minLength: 1, maxLength: 100 }),
  /** The LUKS2 key slot whose passphrase is the secret's text itself. */
  keyslot: Type.Integer({ minimum: 0, maximum: 31 }),
  kdf: WayKdf,
  salt: Base64,
  /** Nonce, AES-256-GCM ciphertext of R, tag. */
  wrappedRootKey: Base64,
  /** For `tpm2`: the secret as systemd-creds sealed it. */
  sealedSecret: Type.Optional(Base64),
  /** For `tpm2`: the registers whose change closes it. */
  pcrs: Type.Optional(Type.String({ pattern: '^[0-9]{1,2}(\\+[0-9]{1,2})*$' })),
  createdAt: Instant,
  lastUsedAt: orNull,
  lastTestedAt: orNull,
});
export type StoredWay = Static<typeof StoredWay>;

const WaysFile = Type.Object({
  format: Type.Literal(1),
  volumeUuid: Id,
  ways: Type.Array(StoredWay, { maxItems: 32 }),
  /** Key slots that must go: half-added ones, those of removed ways, the one in memory of the first boot. */
  doomedKeyslots: Type.Array(Type.Integer({ minimum: 0, maximum: 31 })),
});
export type WaysFile = Static<typeof WaysFile>;

export function waysPath(places: Pick<HostPlaces, 'state'>): string {
  return join(places.state, 'unlock', 'ways.json');
}

/** @returns undefined before the claim. @throws HoldfastError `integrity_failure` when it is damaged. */
export function readWays(places: Pick<HostPlaces, 'state'>): Promise<WaysFile | undefined> {
  return readStateFile(waysPath(places), WaysFile);
}

export async function writeWays(places: Pick<HostPlaces, 'state'>, file: WaysFile): Promise<void> {
  await writeStateFile(waysPath(places), file, { step: 'host.ways' });
}

/** Opening a slot takes seconds on a slow machine; whoever waits for another's change waits for several of them. */
const WAIT_MS = 120_000;

/** Changes of ways and slots come one at a time, also from different processes. */
export function withWaysLock<T>(places: Pick<HostPlaces, 'state'>, act: () => Promise<T>): Promise<T> {
  return withStateLock(join(places.state, 'unlock', 'ways.lock'), act, WAIT_MS);
}

export function publicWay(way: StoredWay): UnlockWay {
  const { id, kind, label, keyslot, pcrs, createdAt, lastUsedAt, lastTestedAt } = way;
  return {
    id,
    kind,
    label,
    keyslot,
    ...(pcrs === undefined ? {} : { pcrs }),
    createdAt,
    lastUsedAt,
    lastTestedAt,
  };
}
