/**
 * Where a target lies, as a command is told: a folder, or `sftp://user@host:port/folder`. The password or private key comes from a
 * file, a variable or the terminal; the server's host key from the arguments, because a person has to compare it.
 */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { askHostKey, readPrivateKey, type TargetConfig } from '../backups/index.ts';
import { readSecretVariable } from '../lib/config.ts';
import { HoldfastError } from '../lib/errors.ts';
import { readS3Place } from './s3-place.ts';
import { askSecret, readSmallFile } from './secrets.ts';

export interface PlaceOptions {
  hostKey?: string | undefined;
  signInFile?: string | undefined;
}

export const PLACE_WORDS = 'its folder, or sftp://user@host:port/folder, or s3://bucket/prefix?endpoint=…';
const PASSWORD_VARIABLE = 'HOLDFAST_OWNER_TARGET_PASSWORD';
const SECRET_LIMIT_BYTES = 16 * 1024;
const FINGERPRINT = /^SHA256:[A-Za-z0-9+/]{43}$/;

export function addPlaceOptions(command: Command): Command {
  return command
    .option('--host-key <fingerprint>', 'of an SFTP target: SHA256:…, as whoever runs the server says')
    .option(
      '--sign-in-file <file>',
      `of an SFTP target: holds its password or private key; else ${PASSWORD_VARIABLE}, or asked for. Of an S3 target: its access key id, secret key and, where there is one, session token, a line each; else AWS_ACCESS_KEY_ID and so on`,
    );
}

/** @throws HoldfastError `invalid_input` for what is no place, or when the host key is not given: it is shown then. */
export async function readPlace(from: string, options: PlaceOptions): Promise<TargetConfig> {
  if (from.startsWith('s3:')) return readS3Place(from, options);
  if (!from.startsWith('sftp:')) {
    if (options.hostKey !== undefined || options.signInFile !== undefined)
      throw new HoldfastError(
        'invalid_input',
        '--host-key goes with sftp://, --sign-in-file with sftp:// and s3://',
      );
    return { kind: 'directory', path: resolve(from) };
  }
  const place = parseSftp(from);
  const fingerprint = options.hostKey ?? (await showHostKey(place));
  if (!FINGERPRINT.test(fingerprint)) {
    throw new HoldfastError('invalid_input', 'This is no fingerprint of a host key', {
      hint: 'It begins with SHA256: as OpenSSH prints it.',
    });
  }
  const signIn = await readSignIn(options, place);
  return { kind: 'sftp', ...place, ...AT_THE_MACHINE, hostKey: { fingerprint }, signIn };
}

/** Who types a command here can reach this machine anyhow; a server may be reached through a tunnel of their own. */
const AT_THE_MACHINE = { ownMachine: true } as const;

interface Place {
  host: string;
  port: number;
  username: string;
  path: string;
}

function parseSftp(text: string): Place {
  const url = URL.parse(text);
  if (url === null || url.hostname === '' || url.username === '' || !url.pathname.startsWith('/')) {
    throw new HoldfastError('invalid_input', `This is no SFTP address: ${text.slice(0, 200)}`, {
      hint: 'It looks like sftp://user@host:port/folder.',
    });
  }
  if (url.password !== '') {
    throw new HoldfastError(
      'invalid_input',
      'A password does not belong into an address: others can see it',
      {
        hint: 'Give it with --sign-in-file.',
      },
    );
  }
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? 22 : Number(url.port),
    username: decodeURIComponent(url.username),
    path: decodeURIComponent(url.pathname),
  };
}

async function showHostKey(place: Place): Promise<never> {
  const { type, fingerprint } = await askHostKey({ ...place, ...AT_THE_MACHINE });
  throw new HoldfastError('invalid_input', `${place.host} shows the host key ${fingerprint} (${type})`, {
    hint: 'Compare it with what whoever runs the server says, then give it with --host-key. Nothing was sent yet.',
  });
}

async function readSignIn({ signInFile }: PlaceOptions, { username, host }: Place) {
  if (signInFile !== undefined) return signInOf(await readSmallFile(signInFile, SECRET_LIMIT_BYTES));
  const password =
    readSecretVariable(PASSWORD_VARIABLE) ?? (await askSecret(`Password of ${username} on ${host}: `));
  return { kind: 'password', password } as const;
}

/** @param text a private key, or a password on one line. */
export async function signInOf(text: string) {
  if (text.trimStart().startsWith('-----BEGIN')) {
    const { privateKey } = await readPrivateKey(text);
    return { kind: 'private-key', privateKey } as const;
  }
  const password = text.replace(/\r?\n$/, '');
  if (password === '' || /[\r\n]/.test(password)) {
    throw new HoldfastError('invalid_input', 'The file holds no private key, and no password on one line');
  }
  return { kind: 'password', password } as const;
}
