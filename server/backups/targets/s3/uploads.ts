/** Objects that are too large for one request: sent in parts, some at once; an upload that does not end is given up on the server. */
import type { S3Client } from './client.ts';
import { hashOf } from './client.ts';
import { S3Refusal, S3Silence } from './failures.ts';
import type { S3Limits } from './limits.ts';
import { blocksOf, escapeXml, textOf } from './xml.ts';

export interface Upload {
  key: string;
  parts: readonly Uint8Array[];
  /** Of the object: storage class, encryption, lock. */
  headers: Record<string, string>;
  /** Refuse a taken name. */
  exclusive: boolean;
}

/** @throws S3Refusal, also for what the server finds wrong at the end of an upload; S3Silence. */
export async function uploadInParts(client: S3Client, upload: Upload, limits: S3Limits): Promise<void> {
  const { key, headers } = upload;
  const begun = await client.send({
    method: 'POST',
    key,
    query: { uploads: '' },
    headers: { ...headers, 'x-amz-checksum-algorithm': 'SHA256', 'x-amz-checksum-type': 'COMPOSITE' },
  });
  const uploadId = textOf(begun.body.toString('utf8'), 'UploadId');
  if (uploadId === undefined) throw new S3Silence('the server began no upload');
  try {
    const pieces = cut(upload.parts, limits.partBytes);
    const done = await sendParts(client, { key, uploadId, pieces, atOnce: limits.atOnce });
    await complete(client, upload, uploadId, done);
  } catch (error) {
    await abortUpload(client, key, uploadId).catch(() => undefined);
    throw error;
  }
}

interface DonePart {
  etag: string;
  sha256: string;
  /** Some servers do not keep the hash of a part, and then refuse to hear it at the end. */
  kept: boolean;
}

async function sendParts(
  client: S3Client,
  {
    key,
    uploadId,
    pieces,
    atOnce,
  }: { key: string; uploadId: string; pieces: Uint8Array[][]; atOnce: number },
): Promise<DonePart[]> {
  const done: DonePart[] = [];
  let next = 0;
  let failed = false;
  const sender = async (): Promise<void> => {
    for (let at = next++; at < pieces.length && !failed; at = next++) {
      const body = pieces[at] ?? [];
      const sha256 = hashOf(body, 'base64');
      const answer = await client.send({
        method: 'PUT',
        key,
        query: { partNumber: String(at + 1), uploadId },
        body,
        sha256: Buffer.from(sha256, 'base64').toString('hex'),
        headers: { 'x-amz-checksum-sha256': sha256 },
      });
      done[at] = {
        etag: answer.headers.etag ?? '',
        sha256,
        kept: answer.headers['x-amz-checksum-sha256'] === sha256,
      };
    }
  };
  const senders = Array.from({ length: Math.min(atOnce, pieces.length) }, () =>
    sender().catch((error: unknown) => {
      failed = true;
      throw error;
    }),
  );
  // All have ended before the buffers that they sent from are given back.
  const ended = await Promise.allSettled(senders);
  const failure = ended.find((one) => one.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
  return done;
}

async function complete(
  client: S3Client,
  { key, exclusive }: Upload,
  uploadId: string,
  done: readonly DonePart[],
): Promise<void> {
  const parts = done.map(
    ({ etag, sha256, kept }, at) =>
      `<Part><PartNumber>${String(at + 1)}</PartNumber><ETag>${escapeXml(etag)}</ETag>` +
      `${kept ? `<ChecksumSHA256>${sha256}</ChecksumSHA256>` : ''}</Part>`,
  );
  const xml = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${parts.join('')}</CompleteMultipartUpload>`;
  const answer = await client.send({
    method: 'POST',
    key,
    query: { uploadId },
    body: [Buffer.from(xml)],
    headers: { 'Content-Type': 'application/xml', ...(exclusive ? { 'If-None-Match': '*' } : {}) },
  });
  // The server may find out after it has begun to answer "good".
  const said = answer.body.toString('utf8');
  if (textOf(said, 'ETag') !== undefined) return;
  throw new S3Refusal(500, textOf(said, 'Code') ?? 'InternalError', textOf(said, 'Message') ?? '');
}

async function abortUpload(client: S3Client, key: string, uploadId: string): Promise<void> {
  await client.send({ method: 'DELETE', key, query: { uploadId }, attempts: 2 });
}

/** Ends what was begun below a prefix and not finished. @returns how many. */
export async function abortUploads(client: S3Client, prefix: string): Promise<number> {
  let count = 0;
  let from: Record<string, string> = {};
  for (;;) {
    const query = { uploads: '', prefix, 'encoding-type': 'url', ...from };
    const xml = (await client.send({ method: 'GET', query })).body.toString('utf8');
    for (const upload of blocksOf(xml, 'Upload')) {
      const key = decodeKey(textOf(upload, 'Key'));
      const id = textOf(upload, 'UploadId');
      if (key === undefined || id === undefined || !key.startsWith(prefix)) continue;
      await abortUpload(client, key, id);
      count++;
    }
    const marker = textOf(xml, 'NextUploadIdMarker');
    const keyMarker = decodeKey(textOf(xml, 'NextKeyMarker'));
    if (textOf(xml, 'IsTruncated') !== 'true' || marker === undefined || keyMarker === undefined)
      return count;
    from = { 'upload-id-marker': marker, 'key-marker': keyMarker };
  }
}

/** @returns undefined for what is no percent-encoded text. */
export function decodeKey(text: string | undefined): string | undefined {
  try {
    return text === undefined ? undefined : decodeURIComponent(text.replaceAll('+', '%20'));
  } catch {
    return undefined;
  }
}

/** Views of the given parts, joined to pieces of one length. */
function cut(parts: readonly Uint8Array[], bytes: number): Uint8Array[][] {
  const pieces: Uint8Array[][] = [];
  let open: Uint8Array[] = [];
  let room = bytes;
  for (const part of parts) {
    for (let at = 0; at < part.length;) {
      const view = part.subarray(at, at + room);
      open.push(view);
      at += view.length;
      room -= view.length;
      if (room > 0) continue;
      pieces.push(open);
      open = [];
      room = bytes;
    }
  }
  if (open.length > 0) pieces.push(open);
  return pieces;
}
