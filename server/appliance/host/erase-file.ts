/** Erases a file that held a secret: overwritten, then removed. For files in memory; on a disk neither would be certain. */
import { rm } from 'node:fs/promises';
import { isSystemError } from '../../lib/errors.ts';
import { overwriteFile } from '../../lib/files.ts';

/** Absent is fine. */
export async function eraseFile(path: string): Promise<void> {
  try {
    await overwriteFile(path);
    await rm(path, { force: true });
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
  }
}
