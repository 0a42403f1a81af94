/**
 * Keeps idle processes small. V8 grows its heap while a process starts or works, and collects only when more is asked for:
 * an idle process would keep the garbage of its start for ever.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Node's options for processes that mostly wait: what is young is collected often instead of being kept. */
export const SMALL_HEAP = ['--max-semi-space-size=1'] as const;

type CollectOptions =
  { type: 'minor' } | { type: 'major'; execution: 'sync'; flavor: 'regular' | 'last-resort' };

let collect: ((options: CollectOptions) => void) | undefined;

/** A collection of the young generation: some 0.5 ms. */
export function collectYoung(): void {
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
