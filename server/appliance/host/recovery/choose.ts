/** What somebody chose, before anything is stopped for it: a folder of this machine that may be named, and a snapshot in it. */
import { stat } from 'node:fs/promises';
import { normalize } from 'node:path';
import { HoldfastError, isSystemError } from '../../../lib/errors.ts';
import type { OpenedRepository } from './schema.ts';

/**
 * @param directories folders below which one may be named.
 * @throws HoldfastError `invalid_input` for another one, `unavailable` when it is not there.
 */
export async function openDirectory(directories: readonly string[], path: string): Promise<string> {
  const plain = normalize(path);
  if (!directories.some((top) => plain.startsWith(`${top}/`))) {
    throw new HoldfastError('invalid_input', `${plain} is not a place for backups on this machine`, {
      hint: `Name a folder below ${directories.join(' or ')}, or a share.`,
    });
  }
  const found = await stat(plain).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP')) return undefined;
    throw error;
  });
  if (found?.isDirectory() === true) return plain;
  throw new HoldfastError('unavailable', `There is no folder ${plain} on this machine`, {
    hint: 'Is its disk attached and mounted? A disk with a file system can be given by its id instead.',
  });
}

/**
 * The snapshot in what a look with the kit found.
 *
 * @throws HoldfastError `not_found`; `wrong_state` when a person has to agree to a warning first.
 */
export function requireSnapshot(
  opened: OpenedRepository | null,
  snapshot: string,
  acceptWarnings: boolean,
): OpenedRepository['snapshots'][number] {
  const found = opened?.snapshots.find(({ id }) => id === snapshot);
  if (found === undefined || opened === null) {
    throw new HoldfastError('not_found', 'This snapshot is not there any more, or cannot be read', {
      hint: 'Look again, and choose another one.',
    });
  }
  if (!found.starts) {
    throw new HoldfastError('wrong_state', `Snapshot ${found.number} cannot be restored here: ${found.fit}`, {
      hint: 'Nothing was stopped or fetched. Install the version that took it, or a later one, or choose an older snapshot.',
    });
  }
  if (opened.warnings.some(({ confirm }) => confirm) && !acceptWarnings) {
    throw new HoldfastError('wrong_state', 'Something about these backups is not as it should be', {
      hint: 'Read the warnings, then agree to go on all the same or take another copy.',
    });
  }
  return found;
}
