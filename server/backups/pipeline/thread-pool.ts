/**
 * A few worker threads that each do one job after another. Threads start when there is work for them, so a run that finds
 * nothing to do starts none. An error thrown in a thread arrives as the same HoldfastError here.
 */
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { ERROR_STATUS, HoldfastError, isSystemError, messageOf, type ErrorCode } from '../../lib/errors.ts';

/** Threads that do bulk work at once; more do not help on the machines we are made for. */
export const BULK_THREADS = 2;

interface SentError {
  code: ErrorCode;
  message: string;
  hint: string | undefined;
  detail: string | undefined;
}

type FromThread = { job: number; result: unknown } | { job: number; error: SentError } | { event: unknown };
interface ToThread {
  job: number;
  request: unknown;
}

export interface ThreadPool<Request, Result> {
  /** Runs on the thread with the least to do, the first one first. */
  run(request: Request, transfer?: ArrayBuffer[]): Promise<Result>;
  /** Once on every thread that was started, behind what it has to do. */
  runOnEach(request: Request): Promise<Result[]>;
  /** Jobs that were given and have not ended. */
  readonly pending: number;
  /** Jobs that may be pending before it makes sense to wait. */
  readonly width: number;
  /** Waits for what is running, then ends the threads. */
  close(): Promise<void>;
}

interface Thread {
  worker: Worker;
  jobs: Map<number, { resolve: (result: unknown) => void; reject: (error: unknown) => void }>;
  ended: Promise<void>;
}

export function openThreadPool<Request, Result>(options: {
  script: URL;
  threads: number;
  workerData: unknown;
  /** What a thread tells unasked. */
  onEvent?: (event: unknown) => void;
}): ThreadPool<Request, Result> {
  const threads: Thread[] = [];
  let lastJob = 0;

  const start = (): Thread => {
    const worker = new Worker(options.script, {
      workerData: options.workerData,
      // A small young generation keeps the garbage of 64 KiB cipher outputs small too.
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
    });
    const thread: Thread = { worker, jobs: new Map(), ended: onceEnded(worker) };
    const failAll = (error: unknown): void => {
      for (const job of thread.jobs.values()) job.reject(error);
      thread.jobs.clear();
    };
    worker.on('message', (message: FromThread) => {
      if ('event' in message) {
        options.onEvent?.(message.event);
        return;
      }
      const job = thread.jobs.get(message.job);
      thread.jobs.delete(message.job);
      if ('error' in message) job?.reject(receiveError(message.error));
      else job?.resolve(message.result);
    });
    worker.on('error', (error) => failAll(asThrown(error)));
    worker.on('exit', () => {
      failAll(new HoldfastError('internal', 'A worker thread ended in the middle of its work'));
    });
    threads.push(thread);
    return thread;
  };

  const send = (thread: Thread, request: Request, transfer: ArrayBuffer[]): Promise<Result> =>
    new Promise<Result>((resolve, reject) => {
      const job = ++lastJob;
      thread.jobs.set(job, { resolve: (result) => resolve(result as Result), reject });
      const message: ToThread = { job, request };
      thread.worker.postMessage(message, transfer);
    });

  const choose = (): Thread => {
    let best = threads[0] ?? start();
    for (const thread of threads) if (thread.jobs.size < best.jobs.size) best = thread;
    return best.jobs.size > 0 && threads.length < options.threads ? start() : best;
  };

  return {
    run: (request, transfer = []) => send(choose(), request, transfer),
    runOnEach: (request) => Promise.all(threads.map((thread) => send(thread, request, []))),
    get pending() {
      return threads.reduce((sum, thread) => sum + thread.jobs.size, 0);
    },
    width: options.threads * 2,
    async close() {
      for (const thread of threads) thread.worker.postMessage(undefined);
      await Promise.all(threads.map((thread) => thread.ended));
    },
  };
}

function onceEnded(worker: Worker): Promise<void> {
  return new Promise((resolve) => worker.once('exit', () => resolve()));
}

function receiveError(sent: SentError): HoldfastError {
  return new HoldfastError(sent.code, sent.message, {
    ...(sent.hint === undefined ? {} : { hint: sent.hint }),
    ...(sent.detail === undefined ? {} : { detail: sent.detail }),
  });
}

/** What ended a thread outside any job, such as at its start. On the way here it loses its class, and keeps its fields. */
function asThrown(error: unknown): unknown {
  const { code, message, hint, detail } = error as Partial<SentError>;
  if (code === undefined || message === undefined || !(code in ERROR_STATUS)) return error;
  return receiveError({ code, message, hint, detail });
}

function sendError(error: unknown): SentError {
  if (error instanceof HoldfastError) {
    const { code, message, hint, detail } = error;
    return { code, message, hint, detail };
  }
  if (isSystemError(error, 'ENOSPC', 'EDQUOT')) {
    const hint = 'Free some space on that disk or give it more, then try again.';
    return { code: 'no_space', message: 'No space left on the disk', hint, detail: error.message };
  }
  return {
    code: 'internal',
    message: 'A worker thread failed',
    hint: undefined,
    detail: error instanceof Error ? (error.stack ?? error.message) : messageOf(error),
  };
}

/** The thread's side: jobs one after another; `undefined` from the pool ends the thread. */
export function serveThread(handlers: {
  handle: (request: never) => Promise<{ result: unknown; transfer?: ArrayBuffer[] }>;
  close: () => Promise<void>;
}): void {
  const port = parentPort;
  if (isMainThread || port === null) throw new HoldfastError('internal', 'This runs in a worker thread only');
  let chain: Promise<void> = Promise.resolve();
  const work = async (message: ToThread): Promise<void> => {
    try {
      const { result, transfer } = await handlers.handle(message.request as never);
      port.postMessage({ job: message.job, result } satisfies FromThread, transfer ?? []);
    } catch (error) {
      port.postMessage({ job: message.job, error: sendError(error) } satisfies FromThread);
    }
  };
  port.on('message', (message: ToThread | undefined) => {
    chain = chain.then(async () => {
      if (message !== undefined) return work(message);
      await handlers.close().catch(() => undefined);
      port.close();
    });
  });
}

export function tellPool(event: unknown): void {
  parentPort?.postMessage({ event } satisfies FromThread);
}

/** Lets pending input and output of this thread go on. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
