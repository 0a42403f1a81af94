/** A clock that ticks for everything that shows how long ago something was. */
import { createSubscriber } from 'svelte/reactivity';

function every(ms: number): () => void {
  return createSubscriber((update) => {
    const timer = setInterval(update, ms);
    return () => {
      clearInterval(timer);
    };
  });
}

const halfMinutes = every(30_000);
const seconds = every(1_000);

/** Milliseconds since the epoch, renewed every half minute. */
export function now(): number {
  halfMinutes();
  return Date.now();
}

/** The same, renewed every second: for what runs. */
export function nowEachSecond(): number {
  seconds();
  return Date.now();
}
