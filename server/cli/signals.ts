/** Ctrl-C and SIGTERM as an abort signal: the command stops at the next safe place and cleans up. A second one ends it. */
import { HoldfastError } from '../lib/errors.ts';

export function untilInterrupted(): { signal: AbortSignal; done(): void } {
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort(new HoldfastError('cancelled', 'Stopped'));
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return {
    signal: controller.signal,
    done: () => {
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
    },
  };
}
