/** Prints reports beside the event loop; a thread for each, whose memory goes with it, one after the other. */
import { Worker } from 'node:worker_threads';
import { HoldfastError } from './errors.ts';

const LIMIT_MS = 30_000;
/** Whoever asks for many at once waits: each takes 60 MiB for its moment. */
let last: Promise<unknown> = Promise.resolve();

/**
 * @param thread - the module that prints that kind of report, which is given the signed bytes and posts the file.
 * @throws HoldfastError `internal` when it does not end in half a minute.
 */
export async function printInThread(thread: URL, signed: Buffer): Promise<Buffer> {
  const mine = last.then(() => print(thread, signed));
  last = mine.catch(() => undefined);
  return mine;
}

async function print(thread: URL, signed: Buffer): Promise<Buffer> {
  const worker = new Worker(thread, { workerData: signed });
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
