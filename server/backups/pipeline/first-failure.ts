/** Keeps the first failure of work that goes on behind the caller's back, until somebody asks. */
import { HoldfastError, messageOf } from '../../lib/errors.ts';

export interface FirstFailure {
  note(error: unknown): void;
  readonly failed: boolean;
  /** @throws the first failure */
  check(): void;
}

export function createFirstFailure(): FirstFailure {
  let first: Error | undefined;
  return {
    note(error) {
      first ??= error instanceof Error ? error : new HoldfastError('internal', messageOf(error));
    },
    get failed() {
      return first !== undefined;
    },
    check() {
      if (first !== undefined) throw first;
    },
  };
}
