/**
 * Keeps processes small. V8 grows its heap while a process starts or works, and collects only when more is asked for: an
 * idle process would keep the garbage of its start for ever, and a busy one the buffers of its ciphers and compressors.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Node's options for processes that mostly wait: what is young is collected often instead of being kept. */
export const SMALL_HEAP = ['--max-semi-space-size=1'] as const;

/**
 * glibc's settings ("mallopt(3)") for our processes: a buffer of 256 KiB or more is mapped by itself and gone when it is
 * freed. By default that limit rises with every large buffer, up to 32 MiB, and what is freed stays with the process.
 */
export const ALLOCATOR_ENVIRONMENT = {
  MALLOC_MMAP_THRESHOLD_: '262144',
  MALLOC_TRIM_THRESHOLD_: '1048576',
} as const;

type CollectOptions =
  { type: 'minor' } | { type: 'major'; execution: 'sync'; flavor: 'regular' | 'last-resort' };

let collect: ((options: CollectOptions) => void) | undefined;

/** Dead bytes outside the heap that may pile up. */
const MOST_GARBAGE_BYTES = 4 * 1024 * 1024;
let garbageBytes = 0;

/**
 * Says that so many bytes were allocated in buffers that are dead by now, or soon. Node's ciphers and zstd return a new
 * buffer from every call; V8 hardly sees their weight and lets up to 64 MiB of them pile up in each thread, then collects
 * everything, which is slow. A collection of the young generation every few MiB frees them at once and costs some 0.5 ms.
 */
export function noteGarbage(bytes: number): void {
  garbageBytes += bytes;
  if (garbageBytes < MOST_GARBAGE_BYTES) return;
  garbageBytes = 0;
  findCollect()({ type: 'minor' });
}

/** Gives back to the system all that is not in use: 20 to 100 ms in which nothing else happens. */
export function giveMemoryBack(): void {
  findCollect()({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

/** Once what a start leaves behind is done with. */
export function giveMemoryBackSoon(afterMs = 2000): void {
  setTimeout(giveMemoryBack, afterMs).unref();
}

function findCollect(): (options: CollectOptions) => void {
  if (collect !== undefined) return collect;
  setFlagsFromString('--expose-gc');
  const found: unknown = runInNewContext('typeof gc === "function" ? gc : undefined');
  collect = typeof found === 'function' ? (found as typeof collect & object) : () => undefined;
  return collect;
}
