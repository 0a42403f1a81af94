import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../server/lib/clock.ts';
import { writeTransaction } from '../../server/lib/db.ts';
import { createLog } from '../../server/lib/log.ts';
import { finishRun, listRuns } from '../../server/lib/runs.ts';
import {
  changeSchedule,
  checkCron,
  ensureSchedules,
  listSchedules,
  nextDue,
  startDueRuns,
} from '../../server/lib/schedules.ts';
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts';

let database: TestDatabase;
let now = new Date('2026-03-02T01:59:00Z');
const clock: Clock = { now: () => now, monotonicMs: () => now.getTime() };

function deps() {
  return { db: database.db, clock, log: createLog('error', 'test') };
}

beforeEach(async () => {
  now = new Date('2026-03-02T01:59:00Z');
  database = await createTestDatabase();
  await ensureSchedules(deps());
});

afterEach(async () => {
  await database.drop();
});

describe('a cron expression', () => {
  it.each(['', 'daily', '* * *', '61 2 * * *', '0 2 * * * *', '0 2 31 2 *'])(
    'is refused when it is %j',
    (cron) => {
      expect(() => checkCron(cron, now)).toThrow(expect.objectContaining({ code: 'invalid_input' }) as Error);
    },
  );

  it('is refused when it would run more often than every ten minutes', () => {
    expect(() => checkCron('*/5 * * * *', now)).toThrow(/more often than every ten minutes/);
    expect(() => checkCron('*/10 * * * *', now)).not.toThrow();
  });

  it('counts in UTC', () => {
    expect(nextDue('0 2 * * *', now).toISOString()).toBe('2026-03-02T02:00:00.000Z');
    expect(nextDue('0 4 * * 0', now).toISOString()).toBe('2026-03-08T04:00:00.000Z');
  });
});

describe('a schedule', () => {
  it('proposes snapshots, quick and full restore tests, a drill and reading back, all off until someone wants them', async () => {
    const rows = await listSchedules(database.db);

    expect(rows.map(({ name, cron, enabled }) => ({ name, cron, enabled }))).toEqual([
      { name: 'verify', cron: '0 3 * * *', enabled: false },
      { name: 'snapshot', cron: '0 2 * * *', enabled: false },
      { name: 'restore-test-full', cron: '0 5 1 * *', enabled: false },
      { name: 'restore-test', cron: '0 4 * * 0', enabled: false },
      { name: 'restore-drill', cron: '0 9 15 1 *', enabled: false },
    ]);
  });

  it('that is changed while it is due, as when its hours keep it, stays due and starts once', async () => {
    await enable('snapshot', '0 2 * * *');
    now = new Date('2026-03-02T02:30:00Z');

    await enable('snapshot', '0 12 * * *');

    expect(await startDueRuns(deps())).toEqual(['snapshot']);
    const row = (await listSchedules(database.db)).find(({ name }) => name === 'snapshot');
    expect(row?.next_due_at?.toISOString()).toBe('2026-03-02T12:00:00.000Z');
  });

  it('starts nothing before its time, and one run when ten look at the same moment', async () => {
    await enable('snapshot', '0 2 * * *');
    expect(await startDueRuns(deps())).toEqual([]);
    now = new Date('2026-03-02T02:00:30Z');

    const started = await Promise.all(Array.from({ length: 10 }, () => startDueRuns(deps())));

    expect(started.flat()).toEqual(['snapshot']);
    expect(await causes()).toEqual(['schedule']);
  });

  it('catches up once for any number of missed times, and goes on from now', async () => {
    await enable('snapshot', '0 2 * * *');
    now = new Date('2026-03-09T12:00:00Z');

    await startDueRuns(deps());
    await startDueRuns(deps());

    expect(await causes()).toEqual(['catch-up']);
    expect((await row('snapshot')).next_due_at?.toISOString()).toBe('2026-03-10T02:00:00.000Z');
  });

  it('waits for a run of its kind that is under way, and is not lost', async () => {
    await enable('snapshot', '0 2 * * *');
    now = new Date('2026-03-02T02:00:30Z');
    await startDueRuns(deps());
    now = new Date('2026-03-03T02:00:30Z');
    expect(await startDueRuns(deps())).toEqual([]);
    const [first] = await listRuns(database.db, { limit: 10 });
    await finishRun(database.db, clock, first?.id ?? '', { state: 'succeeded' });

    expect(await startDueRuns(deps())).toEqual(['snapshot']);
  });

  it('starts nothing when it is switched off', async () => {
    await enable('snapshot', '0 2 * * *');
    await writeTransaction(database.db, (tx) =>
      changeSchedule(tx, clock, 'snapshot', { cron: '0 2 * * *', enabled: false }),
    );
    now = new Date('2026-03-09T12:00:00Z');

    expect(await startDueRuns(deps())).toEqual([]);
  });
});

async function enable(name: 'snapshot', cron: string): Promise<void> {
  await writeTransaction(database.db, (tx) => changeSchedule(tx, clock, name, { cron, enabled: true }));
}

async function row(name: string) {
  return database.db.selectFrom('schedules').selectAll().where('name', '=', name).executeTakeFirstOrThrow();
}

async function causes(): Promise<string[]> {
  return (await listRuns(database.db, { limit: 100 })).map((run) => run.cause);
}
