/** The reading threads of one restore or verify. */
import type { RepositoryGeneration, TargetConfig } from '../engine.ts';
import type { ReadRequest, ReadResult, ReadThreadData } from './read-messages.ts';
import { BULK_THREADS, openThreadPool, type ThreadPool } from './thread-pool.ts';

export function openReadPool(
  target: TargetConfig,
  generations: readonly RepositoryGeneration[],
): ThreadPool<ReadRequest, ReadResult> {
  return openThreadPool<ReadRequest, ReadResult>({
    script: new URL('./read-thread.ts', import.meta.url),
    threads: BULK_THREADS,
    workerData: {
      target,
      generations: generations.map(({ generation, identity, chunkIdSecret }) => ({
        generation,
        identity,
        chunkIdSecret: Uint8Array.from(chunkIdSecret),
      })),
    } satisfies ReadThreadData,
  });
}
