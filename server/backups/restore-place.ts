/** The directory that a restore fills: whether it may be filled, and its folders. Nothing is made or written through a link. */
import { lstat, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError, isSystemError } from '../lib/errors.ts';
import { explainWriteError } from '../lib/files.ts';

/** `refuse`: the directory must be empty or absent. `skip` and `replace` say what becomes of a file that is there. */
export type ExistingFiles = 'refuse' | 'skip' | 'replace';

/** Looks and changes nothing. @throws HoldfastError `conflict` when the directory may not be filled */
export async function requireUsablePlace(to: string, existing: ExistingFiles): Promise<void> {
  const found = await readdir(to).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return [];
    if (isSystemError(error, 'ENOTDIR')) {
      throw new HoldfastError('conflict', `${to} is not a directory`, {
        hint: 'Name a new or empty one.',
      });
    }
    throw explainWriteError(error, to);
  });
  if (found.length > 0 && existing === 'refuse') {
    throw new HoldfastError('conflict', `${to} is not empty`, {
      hint: 'Name a new or empty directory, or say with --into-existing what becomes of files that are there.',
    });
  }
}

/** Makes the directory when it is missing. @throws HoldfastError as `requireUsablePlace`, `no_space`, `unavailable` */
export async function openPlace(to: string, existing: ExistingFiles): Promise<void> {
  await requireUsablePlace(to, existing);
  try {
    await mkdir(to, { recursive: true });
  } catch (error) {
    throw explainWriteError(error, to);
  }
}

/**
 * Makes each part; a link in the place of a folder is refused, because it may lead out of the directory.
 *
 * @returns how many were made
 */
export async function makeFolders(top: string, path: string): Promise<number> {
  let at = top;
  let count = 0;
  for (const part of path.split('/')) {
    at = join(at, part);
    const made = await mkdir(at).then(
      () => true,
      (error: unknown) => {
        if (isSystemError(error, 'EEXIST')) return false;
        throw error;
      },
    );
    if (made) count += 1;
    else if (!(await lstat(at)).isDirectory()) throw new Error('something else of this name is there');
  }
  return count;
}

/** No part of the way may be a link: what was there before, or was put there meanwhile, must not lead elsewhere. */
export async function requirePlainFolders(top: string, path: string): Promise<void> {
  if (path === '.') return;
  let at = top;
  for (const part of path.split('/')) {
    at = join(at, part);
    if (!(await lstat(at)).isDirectory()) throw new Error('something else is in the place of its folder');
  }
}

export async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
