/** What a person has typed of an S3 target, and what is asked of the server with it. */
import type { S3SignIn, S3TargetRequest } from '../../api/shapes.ts';
import { firstFault, type NumberRange } from '../../lib/number-range.ts';

export interface AccessKeyDraft {
  way: S3SignIn['kind'];
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
}

export const LOCK_DAYS: NumberRange = { label: 'Days', min: 1, max: 3650 };

type Lock = 'none' | 'governance' | 'compliance';

export interface S3Draft extends AccessKeyDraft {
  endpoint: string;
  bucket: string;
  prefix: string;
  pathStyle: boolean;
  signingRegion: string;
  allowHttp: boolean;
  ca: string;
  storageClass: string;
  encryption: 'none' | 'sse-s3' | 'sse-kms';
  kmsKeyId: string;
  lock: Lock;
  /** As long as the policy promises to keep a snapshot. */
  lockFollows: boolean;
  lockDays: number | null;
}

export function emptyAccessKey(): AccessKeyDraft {
  return { way: 'access-key', accessKeyId: '', secretAccessKey: '', sessionToken: '' };
}

export function emptyS3Draft(): S3Draft {
  return {
    ...emptyAccessKey(),
    ...{ endpoint: '', bucket: '', prefix: '', pathStyle: true, signingRegion: '', allowHttp: false },
    ...{
      ca: '',
      storageClass: '',
      encryption: 'none',
      kmsKeyId: '',
      lock: 'none',
      lockFollows: true,
      lockDays: 30,
    },
  };
}

export function accessKeyOf(draft: AccessKeyDraft): S3SignIn {
  if (draft.way === 'role') return { kind: 'role' };
  const sessionToken = draft.sessionToken.trim();
  return {
    kind: 'access-key',
    accessKeyId: draft.accessKeyId.trim(),
    secretAccessKey: draft.secretAccessKey.trim(),
    ...(sessionToken === '' ? {} : { sessionToken }),
  };
}

/** Without name and region, which every target has. */
export function s3RequestOf(draft: S3Draft): Omit<S3TargetRequest, 'name' | 'region'> {
  const text = <Name extends string>(name: Name, value: string): Partial<Record<Name, string>> =>
    value.trim() === '' ? {} : ({ [name]: value.trim() } as Record<Name, string>);
  const { kmsKeyId, encryption, lock, storageClass } = draft;
  return {
    kind: 's3',
    endpoint: draft.endpoint.trim(),
    bucket: draft.bucket.trim(),
    prefix: draft.prefix.trim().replace(/^\/+|\/+$/g, ''),
    pathStyle: draft.pathStyle,
    ...text('signingRegion', draft.signingRegion),
    ...(draft.allowHttp && isHttp(draft) ? { allowHttp: true } : {}),
    ...text('ca', draft.ca),
    ...(storageClass === ''
      ? {}
      : { storageClass: storageClass as NonNullable<S3TargetRequest['storageClass']> }),
    ...(encryption === 'sse-s3' ? { encryption: { kind: encryption } } : {}),
    ...(encryption === 'sse-kms' ? { encryption: { kind: encryption, ...text('keyId', kmsKeyId) } } : {}),
    ...(lock === 'none' ? {} : { lock: { mode: lock, ...lockDaysOf(draft) } }),
    signIn: accessKeyOf(draft),
  };
}

function lockDaysOf({ lockFollows, lockDays }: S3Draft): { days: number; followsPolicy?: true } {
  return lockFollows ? { days: 1, followsPolicy: true } : { days: lockDays ?? 0 };
}

export function isHttp({ endpoint }: Pick<S3Draft, 'endpoint'>): boolean {
  return endpoint.trim().startsWith('http:');
}

export function whatS3Misses(draft: S3Draft): string | undefined {
  if (!/^https?:\/\/[^\s/@?#]+\/?$/.test(draft.endpoint.trim()))
    return 'The endpoint looks like https://s3.example.org';
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(draft.bucket.trim()))
    return 'The bucket has 3 to 63 small letters, digits, dots and hyphens';
  if (!/^([A-Za-z0-9_][A-Za-z0-9._-]*(\/[A-Za-z0-9_][A-Za-z0-9._-]*)*)?$/.test(s3RequestOf(draft).prefix))
    return 'The prefix may have letters, digits, . _ - and / between its parts';
  const wrongDays =
    draft.lock === 'none' || draft.lockFollows ? undefined : firstFault([draft.lockDays, LOCK_DAYS]);
  if (wrongDays !== undefined) return wrongDays;
  return whatKeyMisses(draft);
}

export function whatKeyMisses(draft: AccessKeyDraft): string | undefined {
  if (draft.way === 'role') return undefined;
  if (draft.accessKeyId.trim() === '') return 'The access key id is missing';
  return draft.secretAccessKey.trim() === '' ? 'The secret key is missing' : undefined;
}
