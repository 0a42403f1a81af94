/** What goes wrong with an S3 server, in plain words. Nothing here ever holds a key. */
import { HoldfastError } from '../../../lib/errors.ts';
import type { S3Config } from '../../engine.ts';

/** The server answered, and not with what was asked for. */
export class S3Refusal extends Error {
  readonly status: number;
  /** As S3 names it, such as `NoSuchKey`; empty where the server gave none (the answer to a HEAD has no body). */
  readonly code: string;
  /** Where the bucket stands, when the server says so. */
  readonly region: string | undefined;
  /** The server's clock. */
  readonly date: Date | undefined;

  constructor(
    status: number,
    code: string,
    message: string,
    more: { region?: string | undefined; date?: Date | undefined } = {},
  ) {
    super(message.slice(0, 300));
    this.name = 'S3Refusal';
    this.status = status;
    this.code = code;
    this.region = more.region;
    this.date = more.date;
  }
}

/** No whole answer came: whether the server did what it was asked is not known. */
export class S3Silence extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'S3Silence';
  }
}

type Place = Pick<S3Config, 'endpoint' | 'bucket' | 'prefix' | 'region'>;

/** As the command line takes it. */
export function s3PlaceOf(config: Place): string {
  const below = config.prefix === '' ? '' : `/${config.prefix}`;
  const query = new URLSearchParams({ endpoint: config.endpoint, region: config.region });
  return `s3://${config.bucket}${below}?${query.toString().replaceAll('%3A', ':').replaceAll('%2F', '/')}`;
}

const RETRIED_STATUSES = new Set([408, 429, 500, 502, 503, 504]);
const RETRIED_CODES = new Set([
  'RequestTimeout',
  'SlowDown',
  'OperationAborted',
  'ConditionalRequestConflict',
]);

/** True for what goes by itself: a busy server, a lost connection; never for what a second try cannot change. */
export function isPassing(error: unknown): boolean {
  if (error instanceof S3Silence) return !isCertificate(error);
  return error instanceof S3Refusal && (RETRIED_STATUSES.has(error.status) || RETRIED_CODES.has(error.code));
}

const EXPIRED = new Set(['ExpiredToken', 'ExpiredTokenException', 'TokenRefreshRequired', 'RequestExpired']);

/** True when the session that was lent to this machine is over: a fresh one may do. */
export function isExpired(error: unknown): boolean {
  return error instanceof S3Refusal && (EXPIRED.has(error.code) || error.code === 'InvalidToken');
}

export function isMissing(error: unknown): boolean {
  return (
    error instanceof S3Refusal &&
    error.status === 404 &&
    ['', 'NoSuchKey', 'NoSuchVersion', 'NotFound'].includes(error.code)
  );
}

function isCertificate(error: S3Silence): boolean {
  const { code = '' } = (error.cause ?? {}) as { code?: string };
  return /CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|ALTNAME|ERR_SSL|ERR_TLS|EPROTO/.test(code);
}

/** @param what the object or the work that it was about, for the log. */
export function explainS3(error: unknown, config: Place, what: string, now: Date): HoldfastError {
  if (error instanceof HoldfastError) return error;
  if (error instanceof S3Silence) return explainSilence(error, config, what);
  if (!(error instanceof S3Refusal)) {
    return new HoldfastError('internal', 'The S3 target failed inside the appliance', {
      detail: what,
      cause: error,
    });
  }
  const { host } = new URL(config.endpoint);
  const { bucket } = config;
  const say = (message: string, hint: string, code: HoldfastError['code'] = 'unavailable') =>
    new HoldfastError(code, message, {
      hint,
      detail: `${what}: ${String(error.status)} ${error.code} ${error.message}`.slice(0, 400),
      cause: error,
    });
  switch (error.code) {
    case 'InvalidAccessKeyId':
      return say(
        `${host} does not know this access key`,
        'Check the access key id, and that it was not removed.',
        'target_refused',
      );
    case 'SignatureDoesNotMatch':
      return say(
        `${host} does not accept the signature made with this secret key`,
        'Check the secret key; it belongs to one access key id, and was shown only once.',
        'target_refused',
      );
    case 'ExpiredToken':
    case 'ExpiredTokenException':
    case 'TokenRefreshRequired':
    case 'InvalidToken':
      return say(
        `The session of this access key on ${host} is over`,
        'A key with a session token lasts some hours. Give a lasting access key, or let the role of the machine be used.',
        'target_refused',
      );
    case 'RequestTimeTooSkewed':
    case 'RequestExpired':
      return say(
        `${host} refuses what is signed by this machine's clock${apart(error.date, now)}`,
        'Set the clock of this machine, and see that time synchronisation works.',
      );
    case 'NoSuchBucket':
      return say(
        `There is no bucket ${bucket} on ${host}. It may also be that a mount or gateway behind it is away`,
        'Check its name, the endpoint and the region. Nothing was made in its place.',
      );
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed':
    case 'IllegalLocationConstraintException':
      return say(
        error.region === undefined
          ? `The bucket ${bucket} is not where ${host} looks for it`
          : `The bucket ${bucket} stands in ${error.region}, and not in ${config.region}`,
        'Give the region in which the bucket stands, and its endpoint.',
      );
    case 'QuotaExceeded':
    case 'EntityTooLarge':
    case 'XMinioStorageFull':
      return say(
        `The bucket ${bucket} on ${host} is full`,
        'Give it more room. Everything written so far is whole and is used by the next run.',
        'no_space',
      );
    case 'BadDigest':
    case 'XAmzContentSHA256Mismatch':
    case 'InvalidDigest':
      return say(
        `Bytes were changed on their way to ${host}`,
        'Look at what lies between: a proxy, a failing network card or memory.',
        'integrity_failure',
      );
    case 'NoSuchUpload':
      return say(
        'The upload was ended by somebody else',
        'Start it again, and see that no other program tidies this prefix.',
      );
  }
  if (error.status === 507) {
    return say(`${host} is full`, 'Give it more room. Everything written so far is whole.', 'no_space');
  }
  if (error.status === 403 || error.status === 401) {
    return say(
      `${host} does not let this key do that in ${bucket}`,
      'Allow it to list the bucket, and to read, write and delete objects below the prefix, and to list and abort uploads there.',
      'target_refused',
    );
  }
  if (error.status === 404)
    return say(`The target does not hold ${what}`, 'Look whether another copy does.', 'not_found');
  if (isPassing(error)) {
    return say(
      `${host} is too busy or not well (${String(error.status)}${error.code === '' ? '' : ` ${error.code}`})`,
      'Try again later. Everything written so far is whole and is used by the next run.',
    );
  }
  return say(
    `${host} refused an operation (${String(error.status)}${error.code === '' ? '' : ` ${error.code}`})`,
    'Look whether this is an S3 server, and at the rights and the health of it.',
  );
}

function explainSilence(error: S3Silence, config: Place, what: string): HoldfastError {
  const { hostname, host } = new URL(config.endpoint);
  const { code = '', message = '' } = (error.cause ?? {}) as { code?: string; message?: string };
  const parts = (hint: string) => ({
    hint,
    detail: `${what}: ${error.message} ${code} ${message}`.slice(0, 400),
    cause: error,
  });
  if (isCertificate(error)) {
    return new HoldfastError(
      'unavailable',
      `${host} shows a certificate that is not believed`,
      parts('Give the certificate of the authority that signed it, and check the name in the endpoint.'),
    );
  }
  if (/ENOTFOUND|EAI_AGAIN/.test(code)) {
    return new HoldfastError(
      'unavailable',
      `The name ${hostname} is not known`,
      parts('Check the endpoint and the name servers. A server of your own often wants path style.'),
    );
  }
  if (code === 'ECONNREFUSED') {
    return new HoldfastError(
      'unavailable',
      `Nothing answers at ${host}`,
      parts('Check the endpoint and its port, and that the server runs.'),
    );
  }
  return new HoldfastError(
    'unavailable',
    `The connection to ${host} was lost again and again`,
    parts(
      'Check the network, the server, and the firewall. Everything written so far is whole and is used by the next run.',
    ),
  );
}

function apart(theirs: Date | undefined, ours: Date): string {
  if (theirs === undefined) return '';
  const minutes = Math.round((theirs.getTime() - ours.getTime()) / 60_000);
  if (minutes === 0) return '';
  return `, which is ${String(Math.abs(minutes))} minutes ${minutes > 0 ? 'behind' : 'ahead of'} that server's`;
}
