/** Alerts of a whole appliance: raised, told by a real mail server, acknowledged, ended. */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkForAlerts } from '../../server/appliance/index.ts';
import { keepAlerts, type Finding } from '../../server/monitoring/index.ts';
import { sendDeps } from '../../server/send-deps.ts';
import type { Alert, AlertPage } from '../../server/monitoring/schema.ts';
import {
  OWNER,
  startTestAppliance,
  expectStatus,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import { partOf } from '../helpers/mail-server.ts';
import { createTestWorkspace } from '../helpers/workspaces.ts';
import { startMailbox, type Mailbox } from '../helpers/mailbox.ts';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

let appliance: TestAppliance;
let owner: TestCaller;
let admin: TestCaller & { email: string; userId: string };
let mailbox: Mailbox;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  admin = await appliance.addPerson('admin');
  await appliance.addPerson('auditor');
  mailbox = await startMailbox(appliance, owner);
}, 60_000);
afterAll(async () => {
  await mailbox.close();
  await appliance.close();
});

let findings: Finding[] = [];
const lookOnce = (look = async () => findings) => keepAlerts({ ...sendDeps(appliance.deps), look });
/** As if time had passed: a jump of the clock would end the sessions too. */
async function later(ms: number): Promise<void> {
  const earlier = (column: string) => sql<Date>`${sql.ref(column)} - make_interval(secs => ${ms / 1000})`;
  const columns = ['first_seen_at', 'clear_since', 'told_at', 'silent_until'] as const;
  await appliance.deps.db
    .updateTable('alerts')
    .set(Object.fromEntries(columns.map((column) => [column, earlier(column)])))
    .where('ended_at', 'is', null)
    .execute();
}
/** A look each minute. */
async function pass(minutes: number, look?: () => Promise<Finding[]>): Promise<void> {
  for (let minute = 0; minute < minutes; minute += 1) {
    await later(MINUTE);
    await lookOnce(look);
  }
}
const list = async (query = '') => expectStatus(admin.call<AlertPage>('GET', `/alerts${query}`), 200);
const audit = async (action: string) =>
  appliance.deps.db.selectFrom('audit_entries').selectAll().where('action', '=', action).execute();
const subjects = async () =>
  (await mailbox.collect()).map(({ to, raw }) => `${to.join()}: ${/^Subject: (.*)/m.exec(raw)?.[1]}`);

const disk: Finding = { name: 'data disk', state: 'bad', message: '96 % in use', hint: 'Free some space' };
const target: Finding = { name: 'target Vault', state: 'warn', message: 'Local copy, not offsite' };

describe('what is not well', () => {
  test('is raised, mailed to owners and administrators in one message, listed and in the audit log', async () => {
    findings = [disk, { ...disk, state: 'ok', name: 'database' }, target];
    await lookOnce();
    expect((await list()).items).toEqual([]);

    await pass(4);

    const { items, total } = await list();
    expect(items).toMatchObject([{ name: 'data disk', state: 'bad', told: 1, acknowledged: null }]);
    expect(total).toBe(1);
    const mails = await mailbox.collect();
    expect(mails.flatMap(({ to }) => to).sort()).toEqual([admin.email, OWNER.email].sort());
    expect(partOf(mails[0] as never, 'text/plain')).toMatch(/data disk[^]*96 % in use[^]*Free some space/);
    expect(await audit('monitoring.alert.raised')).toMatchObject([
      { actor_kind: 'system', detail: { name: 'data disk', state: 'bad' } },
    ]);
    expect(await expectStatus(admin.call('GET', '/alerts/count'), 200)).toEqual({ unacknowledged: 1 });
  });

  test('of two servers that look at once one tells', async () => {
    findings = [disk, { ...disk, name: 'keyring' }, target];
    await lookOnce();
    await later(4 * MINUTE);
    await Promise.all([lookOnce(), lookOnce(), lookOnce()]);
    await lookOnce();

    expect(await mailbox.collect()).toHaveLength(2);
    expect((await list()).items.map(({ name }) => name).sort()).toEqual(['data disk', 'keyring']);
  });

  test('several findings of one thing are one alert, in the worst state', async () => {
    findings = [{ ...disk, state: 'warn', message: '81 % in use' }, disk, { ...disk, name: 'keyring' }];
    await pass(1);

    const { items } = await list();
    expect(items.find(({ name }) => name === 'data disk')).toMatchObject({
      state: 'bad',
      message: '81 % in use. 96 % in use',
    });
  });
});

describe('acknowledging', () => {
  let alert: Alert;
  test('keeps reminders away for as long as was said, and names who did', async () => {
    const first = (await list()).items.find(({ name }) => name === 'data disk');
    const body = { days: 3, note: 'A larger disk comes on Thursday' };
    alert = await expectStatus(admin.call<Alert>('POST', `/alerts/${first?.id}/acknowledge`, body), 200);
    expect(alert.acknowledged).toMatchObject({ by: admin.userId, note: body.note });
    await mailbox.collect();

    await later(DAY);
    await pass(1);

    // The other one, which nobody takes care of.
    expect(await subjects()).toEqual([
      expect.stringContaining('Still needs you: keyring (') as string,
      expect.stringContaining('Still needs you: keyring (') as string,
    ]);
    expect(await audit('monitoring.alert.acknowledged')).toMatchObject([{ actor_id: admin.userId }]);
    expect(await expectStatus(admin.call('GET', '/alerts/count'), 200)).toEqual({ unacknowledged: 1 });
  });

  test('can be taken back', async () => {
    const path = `/alerts/${alert.id}/unacknowledge`;
    expect(await expectStatus(admin.call<Alert>('POST', path), 200)).toMatchObject({ acknowledged: null });
  });

  test('is refused of what is not there, and of nonsense', async () => {
    expect((await admin.call('POST', `/alerts/${randomUUID()}/acknowledge`, { days: 1 })).status).toBe(404);
    for (const body of [{}, { days: 0 }, { days: 31 }, { days: 1, note: 'x'.repeat(501) }])
      expect((await admin.call('POST', `/alerts/${alert.id}/acknowledge`, body)).status).toBe(400);
  });
});

describe('what is well again', () => {
  test('ends after a while, is told, and stays in the list of ended ones', async () => {
    findings = [];
    await pass(12);

    expect((await list()).items).toEqual([]);
    const ended = await list('?state=ended');
    expect(ended.items.map(({ name }) => name).sort()).toEqual(['data disk', 'keyring']);
    expect(await subjects()).toEqual([
      expect.stringContaining('Well again:') as string,
      expect.stringContaining('Well again:') as string,
    ]);
    expect((await admin.call('POST', `/alerts/${ended.items[0]?.id}/acknowledge`, { days: 1 })).status).toBe(
      409,
    );
  });

  test('comes by pages', async () => {
    const first = await list('?state=ended&limit=1');
    const second = await list(`?state=ended&limit=1&cursor=${first.nextCursor}`);

    expect([first.total, second.nextCursor]).toEqual([2, null]);
    expect(new Set([...first.items, ...second.items].map(({ id }) => id)).size).toBe(2);
    expect((await admin.call('GET', '/alerts?state=ended&cursor=nonsense')).status).toBe(400);
  });
});

describe('settings', () => {
  test('say who is told, from which state on, and how often', async () => {
    const settings = { recipients: 'owners', least: 'warn', remindHours: 2 };
    expect((await admin.call('PUT', '/settings/alerts', settings)).status).toBe(403);
    await expectStatus(owner.call('PUT', '/settings/alerts', settings), 200);
    findings = [target];
    await lookOnce();
    await pass(31);

    expect(await subjects()).toEqual([
      expect.stringMatching(new RegExp(`^${OWNER.email}: Needs you: target Vault`)),
    ]);
    expect(await audit('monitoring.settings.changed')).toHaveLength(1);
    await expectStatus(owner.call('PUT', '/settings/alerts', { ...settings, recipients: 'nobody' }), 200);
    findings = [target, disk];
    await pass(5);
    expect(await mailbox.collect()).toEqual([]);
    expect((await list()).items.map(({ name, told }) => [name, told])).toEqual([
      ['data disk', 0],
      ['target Vault', 1],
    ]);
  });
});

test('a look that cannot be made is an alert itself, and ends no other', async () => {
  const failing = () => Promise.reject(new Error('the database is gone'));
  await lookOnce(failing);
  await pass(15, failing);

  expect((await list()).items.map(({ name }) => name).sort()).toEqual([
    'data disk',
    'looking after everything',
    'target Vault',
  ]);
});

test('the real look finds a workspace whose only manager was deactivated', async () => {
  const manager = await appliance.addPerson('member');
  const found = async () =>
    (await checkForAlerts(appliance.deps)).filter(({ name }) => name === 'workspaces');
  await createTestWorkspace(appliance.deps, manager.userId);
  expect(await found()).toEqual([]);

  await expectStatus(owner.call('POST', `/people/${manager.userId}/deactivate`), 200);

  expect(await found()).toMatchObject([
    { state: 'warn', message: expect.stringContaining('no manager') as string },
  ]);
});

test('the real look finds a snapshot that failed, one that was not taken, and a test that is overdue', async () => {
  const now = appliance.clock.now();
  const long = new Date(now.getTime() - 3 * DAY);
  await appliance.deps.db
    .insertInto('runs')
    .values({
      ...{ id: randomUUID(), kind: 'snapshot', state: 'failed', cause: 'schedule' },
      ...{ created_at: long, started_at: long, finished_at: long },
      error: JSON.stringify({ code: 'no_space', message: 'The target is full', hint: 'Make room' }),
    })
    .execute();
  await appliance.deps.db.deleteFrom('schedules').execute();
  for (const name of ['snapshot', 'restore-test'])
    await appliance.deps.db
      .insertInto('schedules')
      .values({ name, kind: name, cron: '0 2 * * *', enabled: true, last_due_at: long, next_due_at: long })
      .execute();

  const found = await checkForAlerts(appliance.deps);

  const messages = found.filter(({ state }) => state === 'bad').map(({ message }) => message);
  expect(messages).toEqual(
    expect.arrayContaining([
      'The last snapshot failed: The target is full',
      'The last due snapshot was not taken',
      'The last due restore test did not pass in time',
    ]),
  );
});
