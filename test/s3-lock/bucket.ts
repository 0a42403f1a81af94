/** Buckets on the server that `run.ts` was told of. */
import { randomBytes } from 'node:crypto';
import type { S3Config } from '../../server/backups/engine.ts';
import { openS3Client } from '../../server/backups/targets/s3/client.ts';
import { LIMITS } from '../../server/backups/targets/s3/limits.ts';
import type { TargetReply } from '../../server/backups/schema.ts';
import { expectStatus, type ServedAppliance } from '../helpers/served-appliance.ts';

const endpoint = process.env.HOLDFAST_TEST_S3_ENDPOINT ?? '';
export const KEY = {
  ...{ kind: 'access-key' as const, accessKeyId: process.env.HOLDFAST_TEST_S3_ID ?? 'testing' },
  secretAccessKey: process.env.HOLDFAST_TEST_S3_SECRET ?? 'testing',
};
let buckets = 0;

export interface BucketKind {
  versions?: boolean;
  lock?: boolean;
}

export async function makeBucket({ versions = false, lock = false }: BucketKind = {}): Promise<S3Config> {
  const bucket = `holdfast-${randomBytes(4).toString('hex')}-${String(++buckets)}`;
  const config: S3Config = {
    ...{ kind: 's3', endpoint, region: 'us-east-1', bucket, prefix: 'repository', pathStyle: true },
    ...{ ownMachine: true, signIn: KEY },
  };
  const client = openS3Client(config, LIMITS);
  const headers = lock ? { 'x-amz-bucket-object-lock-enabled': 'true' } : {};
  await client.send({ method: 'PUT', headers });
  if (versions) {
    const xml = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
    await client.send({ method: 'PUT', query: { versioning: '' }, body: [Buffer.from(xml)] });
  }
  client.close();
  return config;
}

/** Makes the bucket a target of the appliance, which must allow targets on its own machine. */
export function addBucketTarget(
  appliance: ServedAppliance,
  { endpoint: server, bucket, prefix, pathStyle }: S3Config,
  more: object,
): Promise<TargetReply> {
  const place = { region: 'eu-north', signingRegion: 'us-east-1', endpoint: server, bucket, prefix };
  const body = { name: 'vault', kind: 's3', ...place, pathStyle, signIn: KEY, ...more };
  return expectStatus(appliance.call<TargetReply>('POST', '/targets', body), 201);
}
