/** The worker threads that seal small files for one import. */
import { Worker } from 'node:worker_threads';
import { HoldfastError } from '../lib/errors.ts';
import type { SealJob, SealResult } from './seal-thread.ts';

/** More do not help on the machines we are made for. */
const THREADS = 2;
/** Files handed over at once: enough to make the hand-over cheap, few enough to stop soon. */
const CHUNK = 16;

export interface SealThreads {
  /** Results in order. `between` is called now and then, and may throw to stop. */
  seal(jobs: readonly SealJob[], between: () => void): Promise<SealResult[]>;
  close(): Promise<void>;
}

export function startSealThreads(): SealThreads {
  const workers: Worker[] = [];

  /** Gives a thread one chunk after another until none is left. */
  const work = async (
    worker: Worker,
    chunks: { at: number; jobs: SealJob[] }[],
    results: SealResult[],
    between: () => void,
  ): Promise<void> => {
    for (let chunk = chunks.shift(); chunk !== undefined; chunk = chunks.shift()) {
      const { at, jobs } = chunk;
      between();
      for (const [index, result] of (await askThread(worker, jobs)).entries()) results[at + index] = result;
    }
  };
  return {
    async seal(jobs, between) {
      const chunks: { at: number; jobs: SealJob[] }[] = [];
      for (let at = 0; at < jobs.length; at += CHUNK) chunks.push({ at, jobs: jobs.slice(at, at + CHUNK) });
      const results: SealResult[] = [];
      while (workers.length < Math.min(THREADS, chunks.length)) {
        workers.push(
          new Worker(new URL('./seal-thread.ts', import.meta.url), {
            resourceLimits: { maxYoungGenerationSizeMb: 4 },
          }),
        );
      }
      const ends = await Promise.allSettled(workers.map((worker) => work(worker, chunks, results, between)));
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
      return results;
    },
    async close() {
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}

function askThread(worker: Worker, jobs: SealJob[]): Promise<SealResult[]> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      worker.off('message', onMessage);
      worker.off('error', onError);
      worker.off('exit', onExit);
    };
    const onMessage = (results: SealResult[]) => {
      settle();
      resolve(results);
    };
    const onError = (error: Error) => {
      settle();
      reject(error);
    };
    const onExit = () =>
      onError(new HoldfastError('internal', 'A worker thread ended in the middle of its work'));
    worker.on('message', onMessage);
    worker.on('error', onError);
    worker.on('exit', onExit);
    worker.postMessage(jobs);
  });
}
