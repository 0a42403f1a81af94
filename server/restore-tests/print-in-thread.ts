/** Prints reports beside the event loop; a thread for each, whose memory goes with it, one after the other. */
import { Worker } from 'node:worker_threads';
import { HoldfastError } from '../lib/errors.ts';

const LIMIT_MS = 30_000;
/** Whoever asks for many at once waits: each takes 60 MiB for its moment. */
let last: Promise<unknown> = Promise.resolve();

/** @throws HoldfastError `internal` when it does not end in half a minute. */
export async function printInThread(signed: Buffer): Promise<Buffer> {
  const mine = last.then(() => print(signed));
  last = mine.catch(() => undefined);
  return mine;
}

async function print(signed: Buffer): Promise<Buffer> {
  const worker = new Worker(new URL('./print-thread.ts', import.meta.url), { workerData: signed });
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new HoldfastError('internal', 'The report could not be printed in time'));
      }, LIMIT_MS);
      worker.once('message', (pdf: Uint8Array) => {
        clearTimeout(timer);
        resolve(Buffer.from(pdf));
      });
      worker.once('error', reject);
      worker.once('exit', () => {
        clearTimeout(timer);
        reject(new HoldfastError('internal', 'The report could not be printed'));
      });
    });
  } finally {
    await worker.terminate();
  }
}
