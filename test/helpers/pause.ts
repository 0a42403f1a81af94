import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from './wait-for.ts';

/** Holds the processes of an appliance at a named durable step. */
export interface Pause {
  /** For `serveAppliance`. */
  env: Record<string, string>;
  /** Lets `start` begin something, and acts while a process (its id is given) is held at that step. */
  during(
    point: string,
    start: () => Promise<unknown>,
    act: (pid: number) => Promise<void> | void,
  ): Promise<void>;
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
        const pid = await waitFor(`${point} to be reached`, () => readPid(`${order}.reached`), 60_000);
        await act(pid);
      } finally {
        rmSync(order);
        rmSync(`${order}.reached`, { force: true });
      }
    },
  };
}

/** Undefined while it is not written. */
function readPid(path: string): number | undefined {
  return existsSync(path) ? Number(readFileSync(path, 'utf8')) || undefined : undefined;
}
