/** Overdue quick and full tests go up to the owners, whatever was done about the first alert. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { checkForAlerts } from '../../server/appliance/index.ts';
import { keepAlerts } from '../../server/monitoring/index.ts';
import type { AlertPage } from '../../server/monitoring/schema.ts';
import { readTestSchedules } from '../../server/restore-tests/test-schedules.ts';
import { sendDeps } from '../../server/send-deps.ts';
import {
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

const DAY_MS = 86_400_000;
const NAME = 'quick restore tests long overdue';
const NAMES: readonly string[] = [NAME, 'full restore tests long overdue'];
let appliance: TestAppliance;
let owner: TestCaller;
let admin: TestCaller & { userId: string };

beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  admin = await appliance.addPerson('admin');
}, 60_000);
afterAll(() => appliance.close());
beforeEach(async () => {
  const { db } = appliance.deps;
  await db.deleteFrom('runs').execute();
  await db.deleteFrom('alerts').execute();
  await db.deleteFrom('mail_messages').execute();
  await db.updateTable('schedules').set({ enabled: false }).execute();
});

const daysAgo = (days: number) => new Date(appliance.clock.now().getTime() - days * DAY_MS);
/** A test that fell due so many days ago each, and failed or still waits. */
async function missed(name: 'restore-test' | 'restore-test-full', ago: number[], input: object = {}) {
  const { db } = appliance.deps;
  const mode = name === 'restore-test' ? 'quick' : 'full';
  await db
    .insertInto('schedules')
    .values({ name, kind: 'restore-test', cron: '0 4 * * 0', input: JSON.stringify({ mode }), enabled: true })
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ enabled: true }))
    .execute();
  await db
    .updateTable('schedules')
    .set({ enabled: true, last_due_at: daysAgo(Math.min(...ago)), next_due_at: daysAgo(-3) })
    .where('name', '=', name)
    .execute();
  for (const days of ago)
    await db
      .insertInto('runs')
      .values({
        ...{ id: randomUUID(), kind: 'restore-test', state: 'failed', cause: 'schedule' },
        ...{
          input: JSON.stringify({ mode, ...input }),
          created_at: daysAgo(days),
          finished_at: daysAgo(days),
        },
      })
      .execute();
}
const escalated = async () =>
  (await checkForAlerts(appliance.deps))
    .filter(({ name }) => NAMES.includes(name))
    .map(({ message }) => message);

test.each([
  ['restore-test', [7.9], false],
  ['restore-test', [8.1], true],
  // Due anew each week, and never late for longer than a week.
  ['restore-test', [9, 0.5], true],
  ['restore-test-full', [14.9], false],
  ['restore-test-full', [15.1], true],
] as const)('%s that was due %j days ago: %s', async (name, ago, goesUp) => {
  await missed(name, [...ago]);

  const found = await escalated();

  expect(found).toHaveLength(goesUp ? 1 : 0);
  if (goesUp)
    expect(found[0]).toContain(name === 'restore-test' ? 'No quick restore test' : 'No full restore test');
});

test('a drill, and a schedule that is off, do not go up so', async () => {
  await missed('restore-test-full', [40], { drill: true });
  expect(await escalated()).toEqual([]);
  await missed('restore-test', [40]);
  await appliance.deps.db.updateTable('schedules').set({ enabled: false }).execute();

  expect(await escalated()).toEqual([]);
});

test('one that nobody queued goes up too', async () => {
  await missed('restore-test', [9]);
  await appliance.deps.db.deleteFrom('runs').execute();
  const due = daysAgo(9);
  await appliance.deps.db
    .updateTable('schedules')
    .set({ last_due_at: null, next_due_at: due })
    .where('name', '=', 'restore-test')
    .execute();

  expect((await readTestSchedules(appliance.deps)).map(({ escalatedSince }) => escalatedSince)).toEqual([
    due.toISOString(),
  ]);
});

test('owners hear of it although an administrator took care of the first alert, and only they take care of it', async () => {
  await missed('restore-test', [9]);
  const { db } = appliance.deps;
  const look = () =>
    keepAlerts({
      ...sendDeps(appliance.deps),
      look: async () =>
        (await checkForAlerts(appliance.deps)).filter(({ name }) => name.includes('restore tests')),
    });
  const raise = async () => {
    await look();
    await db
      .updateTable('alerts')
      .set({ first_seen_at: daysAgo(1) })
      .where('raised_at', 'is', null)
      .execute();
    await look();
  };
  await raise();
  const { items } = await expectStatus(owner.call<AlertPage>('GET', '/alerts'), 200);
  expect(items.map(({ name }) => name).sort()).toEqual([NAME, 'restore tests']);
  const idOf = (name: string) => items.find((one) => one.name === name)?.id ?? '';
  const take = (who: TestCaller, name: string) =>
    who.call('POST', `/alerts/${idOf(name)}/acknowledge`, { days: 30 });
  const mails = await db.selectFrom('mail_messages').select('user_id').execute();
  expect(mails.map((mail) => mail.user_id)).toContain(admin.userId);
  expect(new Set(mails.map((mail) => mail.user_id)).size).toBe(2);

  await expectStatus(take(admin, 'restore tests'), 200);
  const refused = await take(admin, NAME);

  expect(refused).toMatchObject({ status: 403 });
  const row = () => db.selectFrom('alerts').selectAll().where('name', '=', NAME).executeTakeFirstOrThrow();
  expect((await row()).acknowledged_at).toBeNull();
  // Reminded a day later, although the first one is silent.
  await db.deleteFrom('mail_messages').execute();
  await db
    .updateTable('alerts')
    .set({ told_at: daysAgo(1.1) })
    .execute();
  await look();
  expect(await db.selectFrom('mail_messages').select('user_id').execute()).toHaveLength(2);
  await expectStatus(take(owner, NAME), 200);
  expect((await row()).acknowledged_at).not.toBeNull();
});
