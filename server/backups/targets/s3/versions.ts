/**
 * Buckets that keep versions. Objects are written once, so of several versions the oldest is the object: whatever was laid over it
 * later, also a delete marker, was not laid there by us. Deleting takes every version by its id; a marker would free no byte and
 * would only hide what is still there.
 */
import type { Held } from '../../engine.ts';
import type { S3Client } from './client.ts';
import { S3Refusal } from './failures.ts';
import { decodeKey } from './uploads.ts';
import { textOf } from './xml.ts';

export interface Version {
  key: string;
  /** `null` for what was written before versions were kept. */
  id: string;
  sizeBytes: number;
  marker: boolean;
}

/** @returns false where the server knows no versions, or does not let us ask. */
export async function keepsVersions(client: S3Client): Promise<boolean> {
  try {
    const answer = await client.send({ method: 'GET', query: { versioning: '' } });
    // Suspended too: versions from before are still there.
    return textOf(answer.body.toString('utf8'), 'Status') !== undefined;
  } catch (error) {
    if (error instanceof S3Refusal && error.status >= 400 && error.code !== 'NoSuchBucket') return false;
    throw error;
  }
}

/** All versions and markers below a prefix, by key, the newest of each first. */
export async function* listVersions(client: S3Client, prefix: string): AsyncIterable<Version> {
  let from: Record<string, string> = {};
  for (;;) {
    const query = { versions: '', prefix, 'encoding-type': 'url', ...from };
    const xml = (await client.send({ method: 'GET', query })).body.toString('utf8');
    for (const block of xml.match(/<(Version|DeleteMarker)>.*?<\/\1>/gs) ?? []) {
      const key = decodeKey(textOf(block, 'Key'));
      const id = textOf(block, 'VersionId');
      if (key === undefined || id === undefined || !key.startsWith(prefix)) continue;
      const marker = block.startsWith('<DeleteMarker>');
      yield { key, id, sizeBytes: Number(textOf(block, 'Size') ?? 0), marker };
    }
    const keyMarker = decodeKey(textOf(xml, 'NextKeyMarker'));
    if (textOf(xml, 'IsTruncated') !== 'true' || keyMarker === undefined) return;
    from = { 'key-marker': keyMarker, 'version-id-marker': textOf(xml, 'NextVersionIdMarker') ?? '' };
  }
}

/** The oldest version of each key that is no marker. */
export async function* listOldest(client: S3Client, prefix: string): AsyncIterable<Version> {
  let last: Version | undefined;
  for await (const version of listVersions(client, prefix)) {
    if (last !== undefined && last.key !== version.key) {
      yield last;
      last = undefined;
    }
    if (!version.marker) last = version;
  }
  if (last !== undefined) yield last;
}

/** @returns undefined when no version is there. */
export async function findOldest(client: S3Client, key: string): Promise<Version | undefined> {
  for await (const version of listOldest(client, key)) if (version.key === key) return version;
  return undefined;
}

/** Oldest first, so that what a lock holds stays as it is. @returns what holds it; undefined when all are gone. */
export async function deleteVersions(client: S3Client, key: string): Promise<Held | undefined> {
  const versions: Version[] = [];
  for await (const version of listVersions(client, key)) if (version.key === key) versions.push(version);
  for (const version of versions.reverse()) {
    try {
      await client.send({ method: 'DELETE', key, query: { versionId: version.id } });
    } catch (error) {
      const held = version.marker ? undefined : await findHold(client, version, error);
      if (held === undefined) throw error;
      return held;
    }
  }
  return undefined;
}

async function findHold(client: S3Client, { key, id }: Version, refused: unknown): Promise<Held | undefined> {
  if (!(refused instanceof S3Refusal) || ![400, 403, 409].includes(refused.status)) return undefined;
  const { headers } = await client.send({ method: 'HEAD', key, query: { versionId: id } });
  if (headers['x-amz-object-lock-legal-hold'] === 'ON') return { until: undefined };
  const until = retainedUntil(headers);
  // By the server's clock, which decides; without one, what it refused is taken for held.
  const now = client.serverDate();
  return until !== undefined && (now === undefined || until > now) ? { until } : undefined;
}

export function retainedUntil(headers: Record<string, unknown>): Date | undefined {
  const said = headers['x-amz-object-lock-retain-until-date'];
  const at = typeof said === 'string' ? Date.parse(said) : NaN;
  return Number.isNaN(at) ? undefined : new Date(at);
}
