/**
 * Loaded before a child process (`node --import`): holds it at the crash point that the file HOLDFAST_TEST_PAUSE names, for as
 * long as that file is there, so that a test can change the world in the middle of a run.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const order = process.env.HOLDFAST_TEST_PAUSE ?? '';
const idle = new Int32Array(new SharedArrayBuffer(4));

function wanted(): string | undefined {
  try {
    return readFileSync(order, 'utf8');
  } catch {
    return undefined;
  }
}

(globalThis as Record<symbol, unknown>)[Symbol.for('holdfast.crashPoint')] = (reached: string): void => {
  if (wanted() !== reached) return;
  writeFileSync(`${order}.reached`, String(process.pid));
  while (wanted() === reached) Atomics.wait(idle, 0, 0, 20);
};
