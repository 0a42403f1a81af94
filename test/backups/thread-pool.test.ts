import { expect, test } from 'vitest';
import { openThreadPool } from '../../server/backups/pipeline/thread-pool.ts';

test('a thread that cannot reach its target from the start says so as the target does, hint and all', async () => {
  const pool = openThreadPool({
    script: new URL('../../server/backups/pipeline/read-thread.ts', import.meta.url),
    threads: 1,
    workerData: { target: { kind: 'directory', path: '/nowhere/at-all' }, generations: [] },
  });

  await expect(pool.run({})).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('is not there') as string,
    hint: expect.stringContaining('mount the disk') as string,
  });

  await pool.close();
});
