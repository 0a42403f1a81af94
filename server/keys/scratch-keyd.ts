/**
 * A keyd for one restore test: it holds only the keyring that the recovery kit opened, never the live one, in memory, and ends
 * with the test. What it is handed goes over standard input; it checks the signatures itself.
 *
 * Input: one JSON line `{repositoryId, signingKeys}`, one base64 line for each plaintext, an empty line; then the input stays
 * open until the test is done.
 */
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { childEnvironment } from '../lib/config.ts';
import { HoldfastError } from '../lib/errors.ts';
import { endOf, startProcess } from '../lib/spawn.ts';
import { credentialPath, createKeydCredentials } from './keyd/credentials.ts';
import { keydCommand } from './keyd/command.ts';
import { type KeyringSource, memoryKeyring } from './keyd/store.ts';
import { keyringFromObjects, type KeyringReader } from './keyring-object.ts';

const START_LIMIT_MS = 60_000;

/** Reads what `startScratchKeyd` sends. `ended` resolves when the input ends. */
export async function readScratchKeyring(
  input: Readable,
): Promise<{ keyring: KeyringSource; ended: Promise<void> }> {
  const lines: string[] = [];
  const reading = createInterface({ input, crlfDelay: Infinity });
  const ended = new Promise<void>((resolve) => reading.once('close', resolve));
  await new Promise<void>((resolve) => {
    reading.on('line', (line) => (line === '' ? resolve() : lines.push(line)));
    reading.once('close', resolve);
  });
  const [first, ...objects] = lines;
  const given = JSON.parse(first ?? '{}') as {
    repositoryId?: string;
    signingKeys?: { id: string; publicKey: string }[];
  };
  if (given.repositoryId === undefined || given.signingKeys === undefined || objects.length === 0) {
    throw new HoldfastError('invalid_input', 'The scratch key service was handed no keyring');
  }
  const reader: KeyringReader = {
    repositoryId: given.repositoryId,
    signingKeys: given.signingKeys.map((key) => ({
      id: key.id,
      publicKey: Buffer.from(key.publicKey, 'base64'),
    })),
  };
  const plaintexts = objects.map((line) => Buffer.from(line, 'base64'));
  const keyring = keyringFromObjects(plaintexts, reader);
  for (const plaintext of plaintexts) plaintext.fill(0);
  return { keyring: memoryKeyring(keyring), ended };
}

export interface ScratchKeyd {
  socketPath: string;
  /** For role run. */
  credentialFile: string;
  stop(): Promise<void>;
}

/**
 * Starts a scratch keyd as a process of its own.
 *
 * @param directory a private folder of the run; socket and credential go there.
 * @param plaintexts of the keyring base and its newest addition. @see openKeyringObject
 * @throws integrity_failure when they do not verify; unavailable when it does not start.
 */
export async function startScratchKeyd(options: {
  directory: string;
  plaintexts: readonly Buffer[];
  reader: KeyringReader;
}): Promise<ScratchKeyd> {
  // What would make the child fail is found here first, with its proper error.
  keyringFromObjects(options.plaintexts, options.reader);
  await createKeydCredentials(options.directory, ['run']);
  const { command, args } = keydCommand(fileURLToPath(new URL('../keyd.ts', import.meta.url)), [
    '--scratch',
    options.directory,
  ]);
  const child = startProcess(command, args, {
    env: childEnvironment(),
    stdio: ['pipe', 'ignore', 'inherit', 'ipc'],
  });
  const ended = endOf(child);
  const ready = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('it took too long')), START_LIMIT_MS);
    child.once('message', () => resolve());
    void ended.then((end) =>
      reject(end.error ?? new Error(`it ended with ${end.exitCode ?? end.signal ?? ''}`)),
    );
    const clear = () => clearTimeout(timer);
    child.once('message', clear);
    void ended.then(clear);
  });
  const signingKeys = options.reader.signingKeys.map((key) => ({
    id: key.id,
    publicKey: Buffer.from(key.publicKey).toString('base64'),
  }));
  const { stdin } = child;
  stdin?.on('error', () => undefined);
  stdin?.write(`${JSON.stringify({ repositoryId: options.reader.repositoryId, signingKeys })}\n`);
  for (const plaintext of options.plaintexts) stdin?.write(`${plaintext.toString('base64')}\n`);
  stdin?.write('\n');
  try {
    await ready;
  } catch (cause) {
    child.kill('SIGKILL');
    throw new HoldfastError('unavailable', 'The scratch key service did not start', { cause });
  }
  return {
    socketPath: join(options.directory, 'keyd.sock'),
    credentialFile: credentialPath(options.directory, 'run'),
    async stop() {
      stdin?.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await ended;
      clearTimeout(timer);
    },
  };
}
