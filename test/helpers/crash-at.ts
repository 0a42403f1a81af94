/**
 * Loaded before a child process (`node --import`): kills it, as a power cut would, when it reaches the n-th call of the crash
 * point named in HOLDFAST_TEST_CRASH_AT as `name:n`. With `HOLDFAST_TEST_CRASH_LOG` every point reached is written there.
 */
import { appendFileSync } from 'node:fs';
import { useCompileCache } from '../../server/lib/compile-cache.ts';

// Hundreds of these are started; the one that runs to its end leaves what it compiled.
useCompileCache();

const [name, count] = (process.env.HOLDFAST_TEST_CRASH_AT ?? '').split(':');
const log = process.env.HOLDFAST_TEST_CRASH_LOG;
let left = Number(count ?? 1);

(globalThis as Record<symbol, unknown>)[Symbol.for('holdfast.crashPoint')] = (reached: string): void => {
  if (log !== undefined) appendFileSync(log, `${reached}\n`);
  if (reached === name && --left === 0) process.kill(process.pid, 'SIGKILL');
};
