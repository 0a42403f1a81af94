/** Erases a file that held a secret: overwritten, then removed. For files in memory; on a disk neither would be certain. */
import { open, rm } from 'node:fs/promises';
import { isSystemError } from '../../lib/errors.ts';

/** Absent is fine. */
export async function eraseFile(path: string): Promise<void> {
  try {
    const handle = await open(path, 'r+');
    try {
      const { size } = await handle.stat();
      await handle.write(Buffer.alloc(size), 0, size, 0);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rm(path, { force: true });
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
  }
}
