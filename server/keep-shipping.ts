/** Keeps the process that ships the write-ahead log, while that is switched on; the worker does this beside its runs. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { KeyClient } from './keys/index.ts';
import { childEnvironment } from './lib/config.ts';
import type { Database } from './lib/db.ts';
import type { Logger } from './lib/log.ts';
import { ALLOCATOR_ENVIRONMENT } from './lib/process-memory.ts';
import { endOf, startProcess, type ChildProcess } from './lib/spawn.ts';

/** After an ending that nobody asked for. */
const START_AGAIN_MS = 5_000;
const STOP_MS = 15_000;
/** keyd forgets after a start what it was told, and after hours. */
const LEND_EVERY_MS = 15_000;
/** A target that hangs keeps one of these: four, as Node has by itself, would be the end with the fourth. */
const THREADS = '16';

export interface KeptShipping {
  /** Starts the process when it is wanted and not there. */
  look(): Promise<void>;
  stop(): Promise<void>;
}

export function keepShipping(deps: { db: Database; keys: KeyClient; log: Logger }): KeptShipping {
  let child: ChildProcess | undefined;
  let id = '';
  let lentMs = 0;
  let notBeforeMs = 0;
  const lend = async (): Promise<void> => {
    // To sign in to targets; it opens no backup.
    await deps.keys.lend(id, null, { liveKeys: true });
    lentMs = performance.now();
  };
  return {
    async look() {
      if (child !== undefined) {
        if (performance.now() - lentMs >= LEND_EVERY_MS) await lend();
        return;
      }
      if (performance.now() < notBeforeMs || !(await isWanted(deps.db))) return;
      id = randomUUID();
      await lend();
      const started = startProcess(
        process.execPath,
        ['--max-semi-space-size=2', '--max-old-space-size=256', join(import.meta.dirname, 'ship.ts'), id],
        {
          env: childEnvironment({ ...ALLOCATOR_ENVIRONMENT, UV_THREADPOOL_SIZE: THREADS }),
          stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
          detached: true,
        },
      );
      child = started;
      deps.log.info('Shipping of the write-ahead log started');
      void endOf(started).then((end) => {
        child = undefined;
        notBeforeMs = performance.now() + START_AGAIN_MS;
        deps.log.info({ ...end }, 'Shipping of the write-ahead log ended');
      });
    },
    async stop() {
      const running = child;
      if (running === undefined) return;
      if (running.connected) running.disconnect();
      const timer = setTimeout(() => running.kill('SIGKILL'), STOP_MS);
      await endOf(running);
      clearTimeout(timer);
    },
  };
}

/** Also while there is a replication slot to be dropped: it would keep the log for nobody. */
async function isWanted(db: Database): Promise<boolean> {
  const row = await db.selectFrom('point_in_time').select(['enabled', 'slot']).executeTakeFirst();
  return row !== undefined && (row.enabled || row.slot !== null);
}
