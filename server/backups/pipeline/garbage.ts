/**
 * Keeps the memory of a bulk thread small. Node's ciphers and zstd return a new buffer from every call; V8 hardly sees
 * their weight and lets up to 64 MiB of them pile up in each thread, then collects everything, which is slow. A small
 * collection of the young generation every few MiB frees them at once and costs less than half a millisecond.
 */
import { collectYoung } from '../../lib/process-memory.ts';

/** Dead bytes that may pile up. */
const MOST_BYTES = 4 * 1024 * 1024;

let piled = 0;

/** Says that so many bytes were allocated in buffers that are dead by now, or soon. */
export function noteGarbage(bytes: number): void {
  piled += bytes;
  if (piled < MOST_BYTES) return;
  piled = 0;
  collectYoung();
}
