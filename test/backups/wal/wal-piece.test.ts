import { randomBytes } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { decodeWalPiece, encodeWalPiece, type WalPiece } from '../../../server/backups/wal/wal-piece.ts';
import { createLocalRepositoryKeys, type LocalRepositoryKeys } from '../../../server/keys/index.ts';

const PIECE: WalPiece = {
  ...{ number: 10, systemId: '7711', timeline: 1, life: 'ab'.repeat(8), segmentBytes: 16 * 1024 * 1024 },
  ...{
    from: '0/4000000',
    to: '0/4001000',
    completeAt: '2030-01-01T00:00:00.000Z',
    previous: 'ab'.repeat(32),
  },
  gap: { from: '0/3000000', since: null, reason: 'away' },
  keyring: { epoch: '3', objects: [] },
  bornFiles: 2,
};
const BYTES = Buffer.concat([randomBytes(96), Buffer.alloc(4000)]);

let local: LocalRepositoryKeys;
let repositoryId: string;
let stored: Buffer;

beforeAll(async () => {
  local = await createLocalRepositoryKeys();
  ({ repositoryId } = local.writeKeys);
  stored = await encodeWalPiece(repositoryId, PIECE, BYTES, local.writeKeys);
});

const keys = () => local.writeKeys.generations.flatMap((generation) => [...generation.signingKeys]);
const decode = (bytes: Uint8Array, id = repositoryId) => decodeWalPiece(bytes, { repositoryId: id }, keys());

describe('a piece of the log', () => {
  test('gives back what it was made of', () => {
    expect(decode(stored)).toEqual({ piece: PIECE, bytes: BYTES });
  });

  test('is plain zstd to anyone who decrypted it', () => {
    expect(zstdDecompressSync(stored)).toEqual(BYTES);
  });

  test('is refused with any bit flipped', () => {
    for (let at = 0; at < stored.length; at++) {
      const changed = Buffer.from(stored);
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
      expect(() => decode(changed), `byte ${String(at)}`).toThrow();
    }
  });

  test('is refused cut anywhere', () => {
    for (let length = 0; length < stored.length; length++) {
      expect(() => decode(stored.subarray(0, length)), `${String(length)} bytes`).toThrow();
    }
  });

  test('of another repository is refused', () => {
    expect(() => decode(stored, '00000000-0000-4000-8000-000000000001')).toThrow();
  });

  test('with more or fewer bytes than its positions say is not made', async () => {
    await expect(encodeWalPiece(repositoryId, PIECE, BYTES.subarray(1), local.writeKeys)).rejects.toThrow();
  });
});
