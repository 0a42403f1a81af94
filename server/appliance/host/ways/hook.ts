/**
 * The operator's own program that fetches the key from somewhere else, such as a cloud's key service: /state/hooks/unlock prints
 * it on its first line. It runs as root, so it must be root's alone to change.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError, isSystemError } from '../../../lib/errors.ts';
import { runProcess } from '../../../lib/spawn.ts';
import type { HostPlaces } from '../host-places.ts';

const TIMEOUT_MS = 20_000;
const MOST_SECRET_BYTES = 512;
const OTHERS_MAY_WRITE = 0o022;

export function hookPath(places: Pick<HostPlaces, 'state'>): string {
  return join(places.state, 'hooks', 'unlock');
}

/** @throws HoldfastError `not_found` without a hook, `forbidden` when others may change it, `unavailable` when it fails. */
export async function askHook(places: Pick<HostPlaces, 'state'>): Promise<string> {
  const path = hookPath(places);
  const found = await stat(path).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  });
  if (found === undefined) throw new HoldfastError('not_found', 'This machine has no unlock hook');
  if (!found.isFile() || found.uid !== process.getuid?.() || (found.mode & OTHERS_MAY_WRITE) !== 0) {
    throw new HoldfastError('forbidden', 'The unlock hook is not root’s alone to change', {
      hint: `It must be a file that root owns and nobody else may write: ${path}.`,
    });
  }
  const asked = await runProcess(path, [], { timeoutMs: TIMEOUT_MS, maxOutputBytes: 4096 });
  const secret = asked.stdout.split('\n')[0] ?? '';
  if (asked.exitCode === 0 && secret !== '' && Buffer.byteLength(secret) <= MOST_SECRET_BYTES) return secret;
  throw new HoldfastError('unavailable', 'The unlock hook gave no key', {
    hint: 'Run it by hand at the console; it prints the key on one line and ends with 0.',
    detail: `exit ${asked.exitCode ?? asked.signal ?? ''}: ${asked.stderr.slice(-500)}`,
  });
}
