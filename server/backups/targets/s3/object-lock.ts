/** Locks on objects: until an instant, the server lets nobody delete them. */
import { createHash } from 'node:crypto';
import type { ObjectLock, S3Config } from '../../engine.ts';
import type { S3Client } from './client.ts';
import { lockEnd, logLockEnd } from './lock-times.ts';
import { isTrial } from './check-config.ts';
import { isPassing, S3Refusal } from './failures.ts';
import { retainedUntil } from './versions.ts';
import { textOf } from './xml.ts';

/** Claims of writers are not locked: they go with each run, and nothing is lost with them. Nor is what is tried out. */
export function lockHeaders({ lock, prefix }: S3Config, name: string, now: Date): Record<string, string> {
  if (lock === undefined || name.startsWith('writers/') || name.startsWith('.') || isTrial(prefix)) return {};
  const endOf = name.startsWith('wal/') || name.startsWith('files/') ? logLockEnd : lockEnd;
  return {
    'x-amz-object-lock-mode': lock.mode.toUpperCase(),
    'x-amz-object-lock-retain-until-date': endOf(lock, now).toISOString(),
  };
}

interface Hold {
  key: string;
  versionId: string | undefined;
  mode: ObjectLock['mode'];
  /** Renewed only when it ends before `atLeast`. */
  atLeast: Date;
  until: Date;
}

/** Never shortens. @returns until when it is locked now. */
export async function holdUntil(
  client: S3Client,
  { key, versionId, mode, atLeast, until }: Hold,
): Promise<Date> {
  const version: Record<string, string> = versionId === undefined ? {} : { versionId };
  const { headers } = await client.send({ method: 'HEAD', key, query: version });
  const present = retainedUntil(headers);
  if (present !== undefined && present >= atLeast) return present;
  // Compliance is never made governance; the server would refuse it.
  const kept = headers['x-amz-object-lock-mode'] === 'COMPLIANCE' ? 'COMPLIANCE' : mode.toUpperCase();
  const xml =
    `<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>${kept}</Mode>` +
    `<RetainUntilDate>${until.toISOString()}</RetainUntilDate></Retention>`;
  await client.send({
    ...{ method: 'PUT', key, query: { retention: '', ...version }, body: [Buffer.from(xml)] },
    headers: {
      'Content-Type': 'application/xml',
      'Content-MD5': createHash('md5').update(xml).digest('base64'),
    },
  });
  return until;
}

interface BucketLock {
  on: boolean;
  /** What the bucket gives to objects that say nothing themselves, in plain words. */
  usually: string | undefined;
}

export async function readBucketLock(client: S3Client): Promise<BucketLock> {
  try {
    const xml = (await client.send({ method: 'GET', query: { 'object-lock': '' } })).body.toString('utf8');
    const days = textOf(xml, 'Days');
    const years = textOf(xml, 'Years');
    const mode = textOf(xml, 'Mode')?.toLowerCase();
    const long = days === undefined ? `${years ?? ''} years` : `${days} days`;
    return {
      on: textOf(xml, 'ObjectLockEnabled') === 'Enabled',
      usually: mode === undefined ? undefined : `${mode}, ${long}`,
    };
  } catch (error) {
    if (error instanceof S3Refusal && !isPassing(error)) return { on: false, usually: undefined };
    throw error;
  }
}
