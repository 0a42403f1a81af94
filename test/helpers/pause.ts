import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from './wait-for.ts';

/** Holds the processes of an appliance at a named durable step. */
export interface Pause {
  /** For `serveAppliance`. */
  env: Record<string, string>;
  /** Lets `start` begin something, and acts while it is held at that step. */
  during(point: string, start: () => Promise<unknown>, act: () => Promise<void> | void): Promise<void>;
}

/** @param folder for the file by which it is told; not on a disk that fills up. */
export function createPause(folder: string): Pause {
  const order = join(folder, 'pause');
  return {
    env: {
      NODE_OPTIONS: `--import ${join(import.meta.dirname, 'pause-at.ts')}`,
      HOLDFAST_TEST_PAUSE: order,
    },
    async during(point, start, act) {
      writeFileSync(order, point);
      try {
        await start();
        await waitFor(`${point} to be reached`, () => existsSync(`${order}.reached`), 60_000);
        await act();
      } finally {
        rmSync(order);
        rmSync(`${order}.reached`, { force: true });
      }
    },
  };
}
