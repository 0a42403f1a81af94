/** Reads a whole pack and checks everything that can be checked: stored hash, every tag, its own index, every chunk. */
import { createHash } from 'node:crypto';
import { createStreamDecryptor, openAgeHeader } from '../../keys/index.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { noteGarbage } from '../../lib/process-memory.ts';
import type { PackChunk, Target } from '../engine.ts';
import { checkChunk, decompressChunk } from './chunk.ts';
import { chunkIdBytes, decodePackIndex, MAX_PACK_BYTES, packName } from './pack.ts';
import { createFirstFailure } from './first-failure.ts';
import type { PackReference, ReadGeneration } from './pack-reader.ts';
import type { VerifyResult } from './read-messages.ts';

const READ_BYTES = 1024 * 1024;
/** Reused from pack to pack: a thread verifies one at a time. */
let plainBuffer: Buffer = Buffer.alloc(0);
const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);

/**
 * Damage is returned, not thrown. Without the generation's identity only the stored hash is checked.
 *
 * @throws unavailable and the like: what says nothing about the pack
 */
export async function verifyPack(
  target: Target,
  generation: ReadGeneration | undefined,
  pack: PackReference,
  expected: readonly PackChunk[] | undefined,
): Promise<VerifyResult> {
  const result: VerifyResult = { bytesRead: 0, chunks: 0, bytesChecked: 0, problems: [] };
  try {
    if (pack.packSizeBytes > MAX_PACK_BYTES) throw damage('its size is impossible');
    const found = await target.find(packName(pack.packId));
    if (found === undefined) throw damage('it is missing');
    if (found.sizeBytes !== pack.packSizeBytes) throw damage('it has another size than its index says');
    const plain = await readWhole(target, generation, pack, result);
    if (plain === undefined || generation === undefined) return result;
    const { chunks } = decodePackIndex(plain);
    if (expected !== undefined) compareIndexes(chunks, expected);
    for (const chunk of chunks) checkOne(plain, chunk, generation.chunkIdSecret, result);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    if (!['integrity_failure', 'not_found', 'wrong_key'].includes(error.code)) throw error;
    result.problems.push(error.message);
  }
  return result;
}

function damage(message: string): HoldfastError {
  return new HoldfastError('integrity_failure', message);
}

/** Hashes the stored bytes to the end even when they do not decrypt, so that the report names the first cause. */
async function readWhole(
  target: Target,
  generation: ReadGeneration | undefined,
  pack: PackReference,
  result: VerifyResult,
): Promise<Buffer | undefined> {
  const name = packName(pack.packId);
  const hash = createHash('sha256');
  const collector = generation?.identity === undefined ? undefined : collectPlain(generation.identity, pack);
  const broken = createFirstFailure();
  for (let offset = 0; offset < pack.packSizeBytes; offset += READ_BYTES) {
    const length = Math.min(READ_BYTES, pack.packSizeBytes - offset);
    const piece = await target.read(name, { offset, length, into: readBuffer });
    result.bytesRead += piece.length;
    noteGarbage(piece.length);
    hash.update(piece);
    if (collector === undefined || broken.failed) continue;
    try {
      await collector.update(piece);
    } catch (error) {
      broken.note(error);
    }
  }
  if (hash.digest('hex') !== pack.packId) throw damage('its stored bytes are not those of its name');
  broken.check();
  return collector?.finish();
}

function collectPlain(identity: string, pack: PackReference) {
  if (plainBuffer.length < pack.packSizeBytes) plainBuffer = Buffer.allocUnsafeSlow(pack.packSizeBytes);
  let codec: ReturnType<typeof createStreamDecryptor> | undefined;
  let end = 0;
  const place = (pieces: Buffer[]): void => {
    for (const piece of pieces) end += piece.copy(plainBuffer, end);
  };
  return {
    async update(piece: Buffer): Promise<void> {
      let rest = piece;
      if (codec === undefined) {
        const opened = await openAgeHeader(piece, [identity]);
        if (opened.headerLength !== pack.headerLength)
          throw damage('it has another header than its index says');
        codec = createStreamDecryptor(opened.fileKey);
        rest = piece.subarray(opened.headerLength);
      }
      place(codec.update(rest));
    },
    finish(): Buffer {
      if (codec === undefined) throw damage('it is empty');
      place(codec.finish());
      return plainBuffer.subarray(0, end);
    },
  };
}

function compareIndexes(own: readonly PackChunk[], expected: readonly PackChunk[]): void {
  const same =
    own.length === expected.length &&
    own.every((chunk, at) => {
      const other = expected[at];
      return (
        other?.id === chunk.id &&
        other.offset === chunk.offset &&
        other.storedLength === chunk.storedLength &&
        other.originalLength === chunk.originalLength
      );
    });
  if (!same) throw damage('it holds other chunks than the signed index says');
}

function checkOne(plain: Buffer, chunk: PackChunk, secret: Uint8Array, result: VerifyResult): void {
  try {
    const frame = plain.subarray(chunk.offset, chunk.offset + chunk.storedLength);
    checkChunk(secret, chunkIdBytes(chunk.id), decompressChunk(frame, chunk.originalLength));
    result.chunks++;
    noteGarbage(chunk.originalLength);
    result.bytesChecked += chunk.originalLength;
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    result.problems.push(`${error.message} (chunk ${chunk.id})`);
  }
}
