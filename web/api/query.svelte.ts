/** Reads from the API for a page: what there is, what failed, and whether a newer answer is on its way. */
import { untrack } from 'svelte';
import { asApiError, isAbort, type ApiError } from './client.ts';

export interface Query<T> {
  /** The last good answer; kept while a newer one loads, so that the page does not jump. */
  readonly data: T | undefined;
  readonly error: ApiError | undefined;
  readonly pending: boolean;
  refresh(): void;
  /** Puts in what a change has just returned. */
  set(data: T): void;
}

/** Call while a component starts. Runs again when reactive state that `read` uses before its first await changes. */
export function useQuery<T>(read: (signal: AbortSignal) => Promise<T>): Query<T> {
  let data = $state.raw<T>();
  let error = $state.raw<ApiError>();
  let pending = $state(true);
  let round = $state(0);

  $effect(() => {
    void round;
    const controller = new AbortController();
    untrack(() => {
      pending = true;
    });
    read(controller.signal).then(
      (answer) => {
        if (controller.signal.aborted) return;
        data = answer;
        error = undefined;
        pending = false;
      },
      (failure: unknown) => {
        if (controller.signal.aborted || isAbort(failure)) return;
        error = asApiError(failure);
        pending = false;
      },
    );
    return () => {
      controller.abort();
    };
  });

  return {
    get data() {
      return data;
    },
    get error() {
      return error;
    },
    get pending() {
      return pending;
    },
    refresh() {
      round += 1;
    },
    set(next) {
      data = next;
      error = undefined;
    },
  };
}

/** An act of the person: busy while it runs, and its failure. */
export interface Act<A extends unknown[]> {
  readonly busy: boolean;
  readonly error: ApiError | undefined;
  clear(): void;
  /** @returns whether it was done. */
  run(...args: A): Promise<boolean>;
}

export function useAct<A extends unknown[]>(act: (...args: A) => Promise<void>): Act<A> {
  let busy = $state(false);
  let error = $state.raw<ApiError>();
  return {
    get busy() {
      return busy;
    },
    get error() {
      return error;
    },
    clear() {
      error = undefined;
    },
    async run(...args) {
      if (busy) return false;
      busy = true;
      error = undefined;
      try {
        await act(...args);
        return true;
      } catch (failure) {
        error = asApiError(failure);
        return false;
      } finally {
        busy = false;
      }
    },
  };
}
