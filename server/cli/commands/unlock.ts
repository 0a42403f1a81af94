import { request as httpRequest } from 'node:http';
import type { Command } from 'commander';
import { ERROR_STATUS, EXIT, HoldfastError, isSystemError, type ErrorCode } from '../../lib/errors.ts';
import { addCommand } from '../command.ts';
import { printable } from '../output.ts';
import { askSecret, readSecretFile } from '../secrets.ts';

interface Options {
  keyFile?: string;
  disk?: string;
  socket: string;
  status?: boolean;
}

interface LockState {
  kind: 'opening' | 'locked' | 'take-over' | 'blocked' | 'open';
  title: string;
  sentences: string[];
  fingerprint?: string | null;
}

const SOCKET = '/run/holdfast/unlock.sock';
/** Every slot is tried, on a slow machine for seconds each. */
const TIMEOUT_MS = 10 * 60_000;

export function addUnlock(program: Command): void {
  addCommand<Options>(
    program,
    'unlock',
    'Open the locked data volume of this machine, as root at its console',
    (command) =>
      command
        .option('--key-file <file>', 'a file that holds the passphrase or the recovery key on one line')
        .option('--disk <device>', 'which of several empty disks is for the data')
        .option('--status', 'only say what the machine waits for')
        .option('--socket <path>', 'where the waiting machine listens', SOCKET),
    async ({ output }, options) => {
      const before = await call<LockState>(options.socket, 'GET', '/state');
      if (options.status === true) {
        output.result(before, describe(before));
        return EXIT.ok;
      }
      if (options.disk !== undefined) {
        const chosen = await call<LockState>(options.socket, 'POST', '/disk', { path: options.disk });
        output.result(chosen, describe(chosen));
        return chosen.kind === 'blocked' ? EXIT.error : EXIT.ok;
      }
      if (before.kind !== 'locked' && before.kind !== 'take-over') {
        output.result(before, describe(before));
        return before.kind === 'open' ? EXIT.ok : EXIT.error;
      }
      output.note(describe(before));
      const key =
        options.keyFile === undefined
          ? await askSecret('Passphrase or recovery key: ')
          : await readSecretFile(options.keyFile);
      const after = await call<LockState>(options.socket, 'POST', '/unlock', { key });
      output.result(after, describe(after));
      return EXIT.ok;
    },
  );
}

function describe(state: LockState): string {
  return [state.title, ...state.sentences].map(printable).join('\n');
}

async function call<T>(socketPath: string, method: string, path: string, body?: unknown): Promise<T> {
  const payload = body === undefined ? undefined : JSON.stringify(body);
  const { status, text } = await new Promise<{ status: number; text: string }>((resolve, reject) => {
    const headers: Record<string, string | number> = { host: 'console' };
    if (payload !== undefined) {
      headers['content-type'] = 'application/json';
      headers['content-length'] = Buffer.byteLength(payload);
    }
    const request = httpRequest({ socketPath, method, path, headers }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 500, text: Buffer.concat(parts).toString('utf8') }),
      );
    });
    request.setTimeout(TIMEOUT_MS, () => request.destroy(new Error('no answer in time')));
    request.on('error', (error) => reject(explain(error)));
    request.end(payload);
  });
  if (status < 400) return JSON.parse(text) as T;
  const { error } = JSON.parse(text) as { error: { code: string; message: string; hint?: string } };
  const code = error.code in ERROR_STATUS ? (error.code as ErrorCode) : 'internal';
  throw new HoldfastError(code, error.message, error.hint === undefined ? {} : { hint: error.hint });
}

function explain(error: Error): HoldfastError {
  if (isSystemError(error, 'EACCES', 'EPERM'))
    return new HoldfastError('forbidden', 'Only root may unlock this machine', { cause: error });
  return new HoldfastError('unavailable', 'This machine does not wait for a key', {
    hint: 'It is open already, or it is not a machine image of Holdfast. See: systemctl status holdfast-unlock.',
    cause: error,
  });
}
