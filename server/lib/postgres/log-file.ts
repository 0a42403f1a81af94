import { copyFileSync, ftruncateSync, openSync, closeSync, fstatSync, chmodSync } from 'node:fs';

const MAX_LOG_BYTES = 10 * 1024 * 1024;
const CHECK_EVERY_MS = 60_000;

/** A log file that a child process appends to, kept at one earlier generation (`<path>.1`) of at most about 10 MiB. */
export interface LogFile {
  fd: number;
  close(): void;
}

/**
 * The child holds the file itself, not a pipe to us, so that it can still say what happened when we die. Rotation therefore
 * copies and truncates; lines written in between are lost.
 */
export function openLogFile(path: string): LogFile {
  const fd = openSync(path, 'a', 0o600);
  chmodSync(path, 0o600);
  const rotate = () => {
    if (fstatSync(fd).size < MAX_LOG_BYTES) return;
    copyFileSync(path, `${path}.1`);
    ftruncateSync(fd, 0);
  };
  rotate();
  const timer = setInterval(rotate, CHECK_EVERY_MS);
  timer.unref();
  let open = true;
  return {
    fd,
    close() {
      if (!open) return;
      open = false;
      clearInterval(timer);
      closeSync(fd);
    },
  };
}
