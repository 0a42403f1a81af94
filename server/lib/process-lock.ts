/**
 * A lock on a folder that one process holds and the kernel releases when it ends, however it ends: nothing stale can stay
 * behind. Node has no flock; SQLite's exclusive transaction on an empty file is the same thing by another door.
 */
import { DatabaseSync } from 'node:sqlite';
import { HoldfastError, messageOf } from './errors.ts';

export interface ProcessLock {
  release(): void;
}

/**
 * @param path the lock file; created when missing, never removed.
 * @param holder what holds it, for the message, such as "Holdfast on this data folder".
 * @throws HoldfastError `locked` when another process has it, `unavailable` when the file cannot be written.
 */
export function lockProcess(path: string, holder: string): ProcessLock {
  let database: DatabaseSync | undefined;
  try {
    const open = new DatabaseSync(path, { timeout: 0 });
    database = open;
    open.exec('begin exclusive');
    return { release: () => open.close() };
  } catch (error) {
    database?.close();
    throw explainLockError(error, path, holder);
  }
}

/** SQLite's result code for a database that another connection has locked (sqlite.org/rescode.html). */
const SQLITE_BUSY = 5;

function explainLockError(error: unknown, path: string, holder: string): HoldfastError {
  if (error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY) {
    return new HoldfastError('locked', `Another process runs ${holder}`, {
      hint: 'Stop that one first, or use another folder.',
      detail: path,
      cause: error,
    });
  }
  return new HoldfastError('unavailable', `${path} cannot be written`, {
    hint: 'Give the account that runs Holdfast the right to write there; the disk may be read-only or full.',
    detail: messageOf(error),
    cause: error,
  });
}
