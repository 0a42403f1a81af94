/** Bytes of objects on an S3 server: whole, in part, and their hashes. */
import { createHash, randomInt } from 'node:crypto';
import { HoldfastError } from '../../../lib/errors.ts';
import type { ReadBack } from '../../engine.ts';
import type { S3Client } from './client.ts';
import { S3Refusal } from './failures.ts';

/** One pack of so many is read back whole although the server says its hash. */
const SAMPLED = 16;
/** No object of a repository is longer. */
const MOST_BYTES = 512 * 1024 * 1024;
/** An object, and which of its versions counts. */
export interface LocatedObject {
  key: string;
  name: string;
  versionId: string | undefined;
}

function cutShort(name: string, detail: string): HoldfastError {
  return new HoldfastError('integrity_failure', `${name} is cut short`, {
    hint: 'It is not used. Another copy of the repository may be whole.',
    detail,
  });
}

/** @throws HoldfastError `integrity_failure` when it is shorter than asked; S3Refusal, S3Silence */
export async function readObject(
  client: S3Client,
  { key, name, versionId }: LocatedObject,
  range?: { offset: number; length: number; into?: Buffer },
): Promise<Buffer> {
  if (range?.length === 0) return Buffer.alloc(0);
  let data: Buffer = Buffer.alloc(0);
  let at = 0;
  let promised: string | undefined;
  let hash: ReturnType<typeof createHash> | undefined;
  const last = range === undefined ? 0 : range.offset + range.length - 1;
  const call = {
    ...{ method: 'GET' as const, key, expectedBytes: range?.length ?? 0 },
    ...(versionId === undefined ? {} : { query: { versionId } }),
    headers:
      range === undefined
        ? { 'x-amz-checksum-mode': 'ENABLED' }
        : { Range: `bytes=${String(range.offset)}-${String(last)}` },
    take: ({ status, headers }: { status: number; headers: Record<string, unknown> }) => {
      const length = Number(headers['content-length']);
      if (range !== undefined && status !== 206) {
        throw new HoldfastError('unavailable', 'The server sends no parts of objects', {
          hint: 'This server cannot be used: it has to know the header Range.',
        });
      }
      if (!(length <= MOST_BYTES)) throw cutShort(name, `a length of ${String(headers['content-length'])}`);
      if (range !== undefined && length !== range.length)
        throw cutShort(name, `${String(length)} bytes at ${String(range.offset)}`);
      data = range?.into?.subarray(0, length) ?? Buffer.allocUnsafeSlow(length);
      at = 0;
      promised = wholeHash(headers);
      hash = promised === undefined ? undefined : createHash('sha256');
      return (piece: Buffer) => {
        at += piece.copy(data, at);
        hash?.update(piece);
      };
    },
  };
  for (let attempt = 1; ; attempt++) {
    try {
      await client.send(call);
    } catch (error) {
      if (error instanceof S3Refusal && error.status === 416) throw cutShort(name, 'ends before the range');
      throw error;
    }
    if (hash === undefined || hash.digest('base64') === promised) return data;
    // The server's own hash of it says that the way has changed it; once is worth another try.
    if (attempt === 3)
      throw new S3Refusal(200, 'BadDigest', 'what came has another hash than the server says');
  }
}

/** Of the whole object as the server computed it; a hash of hashes (of an upload in parts) ends in `-` and their number. */
function wholeHash(headers: Record<string, unknown>): string | undefined {
  const hash = headers['x-amz-checksum-sha256'];
  return typeof hash === 'string' && /^[A-Za-z0-9+/]{43}=$/.test(hash) ? hash : undefined;
}

/** A pack by the hash that the server computed of it, and every sixteenth whole; all others whole. */
export async function readBack(client: S3Client, { key, name, versionId }: LocatedObject): Promise<ReadBack> {
  const query = versionId === undefined ? {} : { query: { versionId } };
  const headers = { 'x-amz-checksum-mode': 'ENABLED' };
  if (name.startsWith('packs/') && randomInt(SAMPLED) !== 0) {
    const answer = await client.send({ method: 'HEAD', key, headers, ...query });
    const said = wholeHash(answer.headers);
    if (said !== undefined) {
      const sizeBytes = Number(answer.headers['content-length'] ?? 0);
      return { sizeBytes, sha256: Buffer.from(said, 'base64').toString('hex') };
    }
  }
  let hash = createHash('sha256');
  let sizeBytes = 0;
  await client.send({
    ...{ method: 'GET', key, expectedBytes: MOST_BYTES, ...query },
    take: () => {
      hash = createHash('sha256');
      sizeBytes = 0;
      return (piece) => {
        hash.update(piece);
        sizeBytes += piece.length;
      };
    },
  });
  return { sizeBytes, sha256: hash.digest('hex') };
}
