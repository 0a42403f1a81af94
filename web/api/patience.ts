/** Tries again what may pass by itself: a network that stumbles, a server that restarts. */
import { ApiError, isAbort } from './client.ts';

const RETRY_AFTER_MS = [1_000, 4_000, 10_000];
const PASSING = new Set(['offline', 'unavailable', 'too_many_requests']);

/** Three times more, with longer waits between. @throws ApiError of the last try, AbortError when `signal` says so. */
export async function patiently<T>(signal: AbortSignal, act: () => Promise<T>): Promise<T> {
  for (const waitMs of RETRY_AFTER_MS) {
    try {
      return await act();
    } catch (error) {
      if (isAbort(error) || !(error instanceof ApiError) || !PASSING.has(error.code)) throw error;
    }
    await pause(waitMs, signal);
    signal.throwIfAborted();
  }
  return act();
}

/** Ends early, and without throwing, when `signal` says so. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
