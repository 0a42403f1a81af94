import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../server/lib/clock.ts';
import { writeTransaction } from '../../server/lib/db.ts';
import { createLog } from '../../server/lib/log.ts';
import { listenForRuns } from '../../server/lib/run-listener.ts';
import type { RunKind } from '../../server/lib/run-schema.ts';
import {
  appendRunLog,
  enqueueRun,
  failInterruptedRuns,
  finishRun,
  getRun,
  listRunLog,
  requestCancel,
  takeQueuedRun,
  updateRun,
} from '../../server/lib/runs.ts';
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts';
import { waitFor } from '../helpers/wait-for.ts';

let database: TestDatabase;

beforeEach(async () => {
  database = await createTestDatabase();
});

afterEach(async () => {
  await database.drop();
});

describe('a run', () => {
  it('is refused while another of its kind is open', async () => {
    await enqueue('snapshot');

    await expect(enqueue('snapshot')).rejects.toMatchObject({ code: 'wrong_state' });
    await expect(enqueue('verify')).resolves.toBeTypeOf('string');
  });

  it('is taken by one of many workers', async () => {
    await enqueue('snapshot');

    const taken = await Promise.all(Array.from({ length: 8 }, () => takeQueuedRun(database.db, systemClock)));

    expect(taken.filter((row) => row !== undefined)).toHaveLength(1);
  });

  it('that restores much waits for the one that does, and keeps neither a backup nor a single file from its turn', async () => {
    const take = async () => (await takeQueuedRun(database.db, systemClock))?.kind;
    const first = await enqueue('restore-folder');
    expect(await take()).toBe('restore-folder');
    await enqueue('restore-directory');
    await enqueue('restore-test');
    await enqueue('restore-file');
    await enqueue('snapshot');

    expect(await take()).toBe('restore-file');
    expect(await take()).toBe('snapshot');
    expect(await take()).toBeUndefined();
    await finishRun(database.db, systemClock, first, { state: 'succeeded' });
    expect(await take()).toBe('restore-directory');
    expect(await take()).toBeUndefined();
  });

  it('that is cancelled while queued never starts', async () => {
    const id = await enqueue('snapshot');

    await writeTransaction(database.db, (tx) => requestCancel(tx, systemClock, id));

    expect(await takeQueuedRun(database.db, systemClock)).toBeUndefined();
    expect((await getRun(database.db, id)).state).toBe('cancelled');
  });

  it('that is cancelled while running is told, and cannot be cancelled once it has ended', async () => {
    const id = await enqueue('snapshot');
    await takeQueuedRun(database.db, systemClock);
    await writeTransaction(database.db, (tx) => requestCancel(tx, systemClock, id));

    expect(await updateRun(database.db, systemClock, id, { step: 'x' })).toEqual({ cancelRequested: true });
    await finishRun(database.db, systemClock, id, { state: 'cancelled' });
    const again = writeTransaction(database.db, (tx) => requestCancel(tx, systemClock, id));
    await expect(again).rejects.toMatchObject({ code: 'wrong_state' });
  });

  it('ends once: what comes later does not change how', async () => {
    const id = await enqueue('snapshot');
    await takeQueuedRun(database.db, systemClock);

    await finishRun(database.db, systemClock, id, { state: 'succeeded', result: { number: 1 } });
    await finishRun(database.db, systemClock, id, { state: 'failed' });

    expect(await getRun(database.db, id)).toMatchObject({ state: 'succeeded', result: { number: 1 } });
  });

  it('that a crash cut off is failed with words at the next start; a queued one stays', async () => {
    const cut = await enqueue('snapshot');
    await takeQueuedRun(database.db, systemClock);
    const queued = await enqueue('verify');

    expect(await failInterruptedRuns(database.db, systemClock)).toEqual([cut]);
    expect(await getRun(database.db, cut)).toMatchObject({
      state: 'failed',
      error: { message: expect.stringMatching(/stopped while this was running/) as string },
    });
    expect((await getRun(database.db, queued)).state).toBe('queued');
  });

  it('keeps its log in order and announces every change', async () => {
    const heard: string[] = [];
    const listener = listenForRuns(database.address, 'test', createLog('silent', 'test'));
    listener.subscribe((id) => heard.push(id));
    await waitFor('the listener', () => heard.includes(''));
    const id = await enqueue('snapshot');

    await appendRunLog(database.db, systemClock, id, { level: 'info', message: 'one' });
    await appendRunLog(database.db, systemClock, id, { level: 'warn', message: 'x'.repeat(5_000) });

    await waitFor('three changes', () => heard.filter((one) => one === id).length >= 3);
    await listener.close();
    const lines = await listRunLog(database.db, id);
    expect(lines.map((line) => [line.number, line.level, line.message.length])).toEqual([
      [1, 'info', 3],
      [2, 'warn', 2_000],
    ]);
  });
});

async function enqueue(kind: RunKind): Promise<string> {
  return writeTransaction(database.db, (tx) => enqueueRun(tx, systemClock, { kind, cause: 'person' }));
}
