/** Secrets that a command needs: from a file, the environment or the terminal; never from its arguments, which all can see. */
import { readFile, stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { MAX_KIT_CHARACTERS, parseRecoveryKit, type ParsedKit, type RecoveryKit } from '../keys/index.ts';
import { readSecretVariable } from '../lib/config.ts';
import { HoldfastError } from '../lib/errors.ts';

const SECRET_LIMIT_BYTES = 4096;

/** One secret from a file, without its final line break. @throws HoldfastError `invalid_input` */
export async function readSecretFile(path: string): Promise<string> {
  const text = await readSmallFile(path, SECRET_LIMIT_BYTES);
  const secret = text.replace(/\r?\n$/, '');
  if (secret === '' || /[\r\n]/.test(secret)) {
    throw new HoldfastError('invalid_input', `${path} does not hold one secret on one line`);
  }
  return secret;
}

/** @throws HoldfastError `invalid_input` when the variable is not set. */
export function readSecretFromEnvironment(name: string): string {
  const secret = readSecretVariable(name);
  if (secret === undefined || secret === '')
    throw new HoldfastError('invalid_input', `The variable ${name} is not set`);
  return secret;
}

/** A recovery kit in any of its forms. @throws HoldfastError `invalid_input` */
export async function readKitFile(path: string): Promise<ParsedKit> {
  return parseRecoveryKit(await readSmallFile(path, MAX_KIT_CHARACTERS));
}

/** As `readKitFile`, where more than the secret key is needed. */
export async function readWholeKit(path: string): Promise<RecoveryKit> {
  const { kit } = await readKitFile(path);
  if (kit !== undefined) return kit;
  throw new HoldfastError('invalid_input', `${path} holds only the secret key of a kit`, {
    hint: 'Give the whole kit: it also says which repository to trust.',
  });
}

/** Asks on the terminal without showing what is typed. @throws HoldfastError `invalid_input` where there is no terminal. */
export async function askSecret(question: string): Promise<string> {
  if (!process.stdin.isTTY) {
    throw new HoldfastError('invalid_input', 'There is no terminal to ask for the password on', {
      hint: 'Give it with --password-file.',
    });
  }
  let silent = false;
  const output = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      if (!silent) process.stderr.write(chunk);
      done();
    },
  });
  const reader = createInterface({ input: process.stdin, output, terminal: true });
  try {
    const answer = new Promise<string>((resolve) => reader.question(question, resolve));
    silent = true;
    return await answer;
  } finally {
    reader.close();
    process.stderr.write('\n');
  }
}

/** @throws HoldfastError `invalid_input`, `too_large` */
export async function readSmallFile(path: string, limitBytes: number): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > limitBytes) throw new HoldfastError('too_large', `${path} is too large: ${size} bytes`);
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    throw new HoldfastError('invalid_input', `${path} cannot be read`, {
      hint: 'Check the path and that this account may read it.',
      cause: error,
    });
  }
}
