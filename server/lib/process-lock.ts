/**
 * A lock on a folder that one process holds and the kernel releases when it ends, however it ends: nothing stale can stay
 * behind. Node has no flock; SQLite's exclusive transaction on an empty file is the same thing by another door.
 */
import { DatabaseSync } from 'node:sqlite';
import { HoldfastError } from './errors.ts';

export interface ProcessLock {
  release(): void;
}

/**
 * @param path the lock file; created when missing, never removed.
 * @param holder what holds it, for the message, such as "Holdfast on this data folder".
 * @throws HoldfastError `locked` when another process has it.
 */
export function lockProcess(path: string, holder: string): ProcessLock {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec('begin exclusive');
  } catch (error) {
    database.close();
    throw new HoldfastError('locked', `Another process runs ${holder}`, {
      hint: 'Stop that one first, or use another folder.',
      detail: path,
      cause: error,
    });
  }
  return { release: () => database.close() };
}
