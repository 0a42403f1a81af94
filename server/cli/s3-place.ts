/**
 * An S3 target as a command is told of it: `s3://bucket/prefix?endpoint=https://host:port&region=…`, with `style=host` where the bucket
 * stands before the host, `ca=FILE` for an authority of one's own, and `role=machine` for what the machine's role lends. Keys come from
 * a file, the usual variables or the terminal.
 */
import { resolve } from 'node:path';
import type { S3AccessKey, TargetConfig } from '../backups/index.ts';
import { readSecretVariable } from '../lib/config.ts';
import { HoldfastError } from '../lib/errors.ts';
import { askSecret, readSmallFile } from './secrets.ts';

const SECRET_LIMIT_BYTES = 16 * 1024;
const CERTIFICATE_LIMIT_BYTES = 64 * 1024;
const WORDS = ['endpoint', 'region', 'style', 'ca', 'role'];

/** @throws HoldfastError `invalid_input` for what is no place. */
export async function readS3Place(
  from: string,
  { hostKey, signInFile }: { hostKey?: string | undefined; signInFile?: string | undefined },
): Promise<TargetConfig> {
  if (hostKey !== undefined) throw new HoldfastError('invalid_input', '--host-key goes with sftp://');
  const url = URL.parse(from);
  if (url === null || url.hostname === '') refuse('This is no S3 address');
  if (url.username !== '' || url.password !== '')
    refuse('A key does not belong into an address: others can see it');
  const stranger = [...url.searchParams.keys()].find((name) => !WORDS.includes(name));
  if (stranger !== undefined) refuse(`An S3 address has no ${stranger.slice(0, 40)}`);
  const of = (name: string) => url.searchParams.get(name) ?? undefined;
  const endpoint = of('endpoint')?.replace(/\/+$/, '');
  const region = of('region') ?? 'us-east-1';
  const style = of('style') ?? (endpoint === undefined ? 'host' : 'path');
  if (style !== 'host' && style !== 'path') refuse('The style is path or host');
  const ca = of('ca');
  return {
    kind: 's3',
    endpoint: endpoint ?? `https://s3.${region}.amazonaws.com`,
    ...{ region, bucket: url.hostname, pathStyle: style === 'path' },
    prefix: decodeURIComponent(url.pathname).replace(/^\/+|\/+$/g, ''),
    // Who types a command here can reach this machine anyhow.
    ownMachine: true,
    ...(ca === undefined ? {} : { ca: await readSmallFile(resolve(ca), CERTIFICATE_LIMIT_BYTES) }),
    signIn: of('role') === 'machine' ? { kind: 'role' } : await readAccessKey(signInFile),
  };
}

function refuse(message: string): never {
  throw new HoldfastError('invalid_input', message, {
    hint: 'It looks like s3://bucket/prefix?endpoint=https://s3.example.org&region=eu-central-1; keys come with --sign-in-file or the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.',
  });
}

async function readAccessKey(file: string | undefined): Promise<S3AccessKey> {
  if (file !== undefined) return accessKeyOf(await readSmallFile(file, SECRET_LIMIT_BYTES));
  const accessKeyId = readSecretVariable('AWS_ACCESS_KEY_ID') ?? (await askSecret('Access key id: '));
  const secretAccessKey =
    readSecretVariable('AWS_SECRET_ACCESS_KEY') ?? (await askSecret(`Secret key of ${accessKeyId}: `));
  const sessionToken = readSecretVariable('AWS_SESSION_TOKEN');
  return { kind: 'access-key', accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

/** @param text the id, the secret and perhaps a session token, a line each. @throws HoldfastError `invalid_input` */
export function accessKeyOf(text: string): S3AccessKey {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  while (lines.at(-1) === '') lines.pop();
  const [accessKeyId = '', secretAccessKey = '', sessionToken] = lines;
  if (lines.length < 2 || lines.length > 3 || lines.some((line) => !/^[\x21-\x7e]+$/.test(line))) {
    throw new HoldfastError('invalid_input', 'The file holds no access key', {
      hint: 'It has the access key id, the secret key and, where there is one, the session token, a line each.',
    });
  }
  return {
    kind: 'access-key',
    accessKeyId,
    secretAccessKey,
    ...(sessionToken === undefined ? {} : { sessionToken }),
  };
}
