/** What an S3 target may be called and where it may lie; checked wherever a configuration comes from. */
import { isIP } from 'node:net';
import { HoldfastError } from '../../../lib/errors.ts';
import type { S3Config } from '../../engine.ts';

export const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
/** Parts between `/`, of letters that mean the same everywhere. */
export const PREFIX = /^(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(?:\/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){0,7})?$/;
export const REGION = /^[A-Za-z0-9][A-Za-z0-9-]{0,62}$/;
/** Of a trial: below a prefix of a person's. */
const TRIAL = /^(?:.*\/)?\.tmp-[0-9a-f]{16}-trial$/;

export function isTrial(prefix: string): boolean {
  return TRIAL.test(prefix);
}

/** @throws HoldfastError `invalid_input` */
export function checkS3Config(config: S3Config): void {
  const { endpoint, bucket, prefix, region, pathStyle } = config;
  const url = URL.parse(endpoint);
  if (url === null || !['http:', 'https:'].includes(url.protocol) || endpoint !== url.origin) {
    refuse(
      'This is no endpoint of an S3 server',
      'It looks like https://s3.example.org:9000, without a path.',
    );
  }
  if (!BUCKET.test(bucket) || isIP(bucket) !== 0 || bucket.includes('..')) {
    refuse('This is no name of a bucket', 'It has 3 to 63 small letters, digits, dots and hyphens.');
  }
  if (!PREFIX.test(prefix) && !isTrial(prefix)) {
    refuse(
      'This is no prefix',
      'It has letters, digits, . _ and -, with / between its parts and none at its ends.',
    );
  }
  if (!REGION.test(region)) refuse('This is no region of an S3 server', 'It looks like eu-central-1.');
  if (
    !pathStyle &&
    (isIP(url.hostname.replace(/^\[|\]$/g, '')) !== 0 || (bucket.includes('.') && url.protocol === 'https:'))
  ) {
    refuse(
      'The bucket cannot stand before this host',
      'Choose path style: an IP address takes no name before it, and a certificate does not cover a bucket with dots.',
    );
  }
}

function refuse(message: string, hint: string): never {
  throw new HoldfastError('invalid_input', message, { hint });
}

/** True when plain HTTP goes no further than this machine. */
export function isLoopback(endpoint: string): boolean {
  const host = URL.parse(endpoint)?.hostname ?? '';
  return host === 'localhost' || host === '[::1]' || host.startsWith('127.');
}
