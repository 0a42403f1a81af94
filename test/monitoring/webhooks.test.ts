/** Receivers of events, before real HTTP servers: queued with the alert, signed, tried again, given up, and told of. */
import { createHmac, randomUUID } from 'node:crypto';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { checkOutgoing, keepAlerts, queueSnapshots, type Finding } from '../../server/monitoring/index.ts';
import type { AlertPage } from '../../server/monitoring/schema.ts';
import { deliverDue, waitAfter } from '../../server/monitoring/webhooks/deliver.ts';
import type {
  Delivery,
  DeliveryPage,
  Webhook,
  WebhookWithSecret,
} from '../../server/monitoring/webhooks/schema.ts';
import { sendDeps } from '../../server/send-deps.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { startHttpReceiver, type ReceivedCall } from '../helpers/http-receiver.ts';
import { withReceiver, type WithReceiver } from './with-receiver.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const ALL = [
  'alert.raised',
  'alert.worsened',
  'alert.reminded',
  'alert.acknowledged',
  'alert.ended',
  'snapshot.stored',
];
const PATH = '/hooks/T0P-s3cret';

let { appliance, owner, admin, receiver } = {} as WithReceiver;
withReceiver((them) => ({ appliance, owner, admin, receiver } = them));
afterEach(async () => {
  // Sessions end when the clock jumps far; each test has its own hour.
  await appliance.deps.db.deleteFrom('webhooks').execute();
  await appliance.deps.db.deleteFrom('alerts').execute();
});

const deps = () => sendDeps(appliance.deps);
const draft = (change: object = {}) => ({
  ...{ name: 'Pager', url: receiver.url + PATH, allowHttp: true, events: ALL, least: 'warn', paused: false },
  ...change,
});
const add = async (change: object = {}) =>
  expectStatus(owner.call<WebhookWithSecret>('POST', '/webhooks', draft(change)), 201);
const list = async () =>
  (await expectStatus(admin.call<{ items: Webhook[] }>('GET', '/webhooks'), 200)).items;
const log = async (id: string) =>
  (await expectStatus(admin.call<DeliveryPage>('GET', `/webhooks/${id}/deliveries`), 200)).items;
/** Everything that is due now. */
async function deliverAll(): Promise<void> {
  while ((await deliverDue(deps())) > 0);
}

let findings: Finding[] = [];
/** As if that much time had passed for what waits and for what was found. */
async function later(ms: number): Promise<void> {
  const move = (at: Date | null) => (at === null ? null : new Date(at.getTime() - ms));
  const { db } = appliance.deps;
  for (const row of await db.selectFrom('alerts').selectAll().where('ended_at', 'is', null).execute())
    await db
      .updateTable('alerts')
      .set({
        first_seen_at: move(row.first_seen_at) ?? row.first_seen_at,
        ...{
          clear_since: move(row.clear_since),
          told_at: move(row.told_at),
          silent_until: move(row.silent_until),
        },
      })
      .where('id', '=', row.id)
      .execute();
  for (const row of await db.selectFrom('webhook_deliveries').selectAll().execute())
    await db
      .updateTable('webhook_deliveries')
      .set({
        ...{
          created_at: move(row.created_at) ?? row.created_at,
          expires_at: move(row.expires_at) ?? row.expires_at,
        },
        ...{ next_attempt_at: move(row.next_attempt_at), leased_until: move(row.leased_until) },
      })
      .where('id', '=', row.id)
      .execute();
}
async function look(minutes = 1): Promise<void> {
  for (let minute = 0; minute < minutes; minute += 1) {
    await later(MINUTE);
    await keepAlerts({ ...deps(), look: async () => findings });
  }
}
const disk: Finding = { name: 'data disk', state: 'bad', message: '96 % in use', hint: 'Free some space' };
const parse = (call: ReceivedCall | undefined) =>
  JSON.parse(call?.body ?? '{}') as { type: string; data: Record<string, unknown> };
const types = () => receiver.calls.map((call) => parse(call).type);
function signs(secret: string, { headers, body }: ReceivedCall): boolean {
  const key = Buffer.from(secret.replace('whsec_', ''), 'base64');
  const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`;
  const expected = `v1,${createHmac('sha256', key).update(signed).digest('base64')}`;
  return String(headers['webhook-signature']).split(' ').includes(expected);
}

describe('an alert', () => {
  test('is told when it is raised, worse, reminded of, taken care of and over, each signed', async () => {
    const { secret } = await add();
    findings = [{ ...disk, state: 'warn' }];
    await look(32);
    findings = [disk];
    await look(1);
    await deliverAll();
    await later(24 * HOUR);
    await look(1);
    const { items } = await expectStatus(admin.call<AlertPage>('GET', '/alerts'), 200);
    const care = { days: 1, note: 'A larger disk comes' };
    await expectStatus(admin.call('POST', `/alerts/${items[0]?.id}/acknowledge`, care), 200);
    await deliverAll();
    findings = [];
    await look(12);
    await deliverAll();

    expect(types()).toEqual(expect.arrayContaining(ALL.slice(0, 5)));
    expect(types()).toHaveLength(5);
    const raised = receiver.calls.find((call) => parse(call).type === 'alert.raised');
    expect(raised).toMatchObject({ method: 'POST', path: PATH });
    expect(parse(raised).data).toMatchObject({ name: 'data disk', state: 'warn', message: '96 % in use' });
    const acknowledged = receiver.calls.find((call) => parse(call).type === 'alert.acknowledged');
    expect(parse(acknowledged).data).toMatchObject({ note: 'A larger disk comes' });
    for (const call of receiver.calls) expect(signs(secret, call)).toBe(true);
    expect(new Set(receiver.calls.map(({ headers }) => headers['webhook-id'])).size).toBe(5);
  });

  test('below what a receiver wants is not told, and one that got milder is told when it ends', async () => {
    await add({ least: 'bad', events: ['alert.raised', 'alert.ended'] });
    findings = [disk, { ...disk, name: 'mail', state: 'warn' }];
    await look(40);
    findings = [{ ...disk, state: 'warn' }];
    await look(2);
    findings = [];
    await look(12);
    await deliverAll();

    const told = receiver.calls.map((call) => [parse(call).type, parse(call).data.name]);
    expect(told).toEqual([
      ['alert.raised', 'data disk'],
      ['alert.ended', 'data disk'],
    ]);
  });

  test('of a quarantined appliance is told nobody', async () => {
    await add();
    findings = [disk];
    await look(5);

    expect(await deliverDue({ ...deps(), isHeld: async () => true })).toBe(0);
    expect(receiver.calls).toEqual([]);
    expect(await deliverDue(deps())).toBe(1);
  });
});

describe('a receiver', () => {
  test('that fails is tried again later and later, then given up, which is an alert that it is not told of', async () => {
    const { webhook } = await add();
    receiver.behave({ status: 500 });
    findings = [disk];
    await look(4);
    await deliverAll();
    expect(await log(webhook.id)).toMatchObject([
      { state: 'queued', attempts: 1, answer: { status: 500, message: 'Answered 500' } },
    ]);
    expect(await deliverDue(deps())).toBe(0);

    for (let hour = 0; hour < 26; hour += 1) {
      await later(HOUR);
      await deliverDue(deps());
    }

    const [given] = await log(webhook.id);
    expect(given).toMatchObject({ state: 'failed', nextAttemptAt: null });
    expect(given?.attempts).toBeGreaterThan(5);
    expect(new Set(receiver.calls.map(({ headers }) => headers['webhook-id']))).toEqual(new Set([given?.id]));
    const found = await checkOutgoing(appliance.deps);
    expect(found).toMatchObject([{ name: 'webhook Pager', state: 'bad' }]);
    expect(found[0]?.message).toBe('An event was given up: Answered 500');
    receiver.behave({ status: 200 });
    receiver.calls.length = 0;
    findings = found;
    await look(5);
    await deliverAll();
    expect(receiver.calls.filter((call) => parse(call).data.name === 'webhook Pager')).toEqual([]);

    await expectStatus(admin.call('POST', `/webhooks/${webhook.id}/deliveries/${given?.id}/retry`), 202);
    await deliverAll();
    expect((await log(webhook.id)).find(({ id }) => id === given?.id)).toMatchObject({ state: 'delivered' });
    expect(await checkOutgoing(appliance.deps)).toEqual([]);
    expect((await admin.call('POST', `/webhooks/${webhook.id}/deliveries/${given?.id}/retry`)).status).toBe(
      409,
    );
  });

  test('that is gone (410) is given up at once', async () => {
    const { webhook } = await add();
    receiver.behave({ status: 410 });
    await expectStatus(admin.call('POST', `/webhooks/${webhook.id}/test`), 202);
    await deliverAll();

    expect(await log(webhook.id)).toMatchObject([{ state: 'failed', event: 'test', attempts: 1 }]);
    // A trial is no event.
    expect(await checkOutgoing(appliance.deps)).toEqual([]);
  });

  test('that hangs holds up no other', { timeout: 30_000 }, async () => {
    const hanging = await startHttpReceiver('hang');
    await add({ name: 'Hanging', url: hanging.url });
    await add();
    findings = [disk];
    await look(4);
    const work = deliverDue(deps());
    await vi.waitFor(() => expect(receiver.calls).toHaveLength(1), { timeout: 5_000 });
    expect(await deliverDue(deps())).toBe(0);
    await work;

    expect((await list()).map(({ name, last }) => [name, last?.state, last?.answer?.message])).toEqual([
      ['Hanging', 'queued', 'No answer within 10 s'],
      ['Pager', 'delivered', 'Answered 200'],
    ]);
    await hanging.close();
  });

  test('that is paused is told nothing, and goes on with what comes then', async () => {
    const { webhook } = await add({ paused: true });
    findings = [disk];
    await look(4);
    await deliverAll();
    expect(await log(webhook.id)).toEqual([]);
    expect((await admin.call('POST', `/webhooks/${webhook.id}/test`)).status).toBe(409);

    const rest = { ...draft(), url: undefined };
    await expectStatus(owner.call('PUT', `/webhooks/${webhook.id}`, rest), 200);
    findings = [];
    await look(12);
    await deliverAll();
    expect(types()).toEqual(['alert.ended']);
  });

  test('with a new secret is signed to by both, until the old one ends', async () => {
    const { webhook, secret: old } = await add();
    const path = `/webhooks/${webhook.id}/secret`;
    const { secret } = await expectStatus(
      owner.call<WebhookWithSecret>('POST', path, { overlapHours: 24 }),
      200,
    );
    expect(secret).not.toBe(old);
    await expectStatus(admin.call('POST', `/webhooks/${webhook.id}/test`), 202);
    await deliverAll();
    await appliance.deps.db
      .updateTable('webhooks')
      .set({ old_secret_until: new Date(0) })
      .execute();
    await expectStatus(admin.call('POST', `/webhooks/${webhook.id}/test`), 202);
    await deliverAll();

    const [both, one] = receiver.calls;
    if (both === undefined || one === undefined) throw new Error('not delivered');
    expect([signs(secret, both), signs(old, both)]).toEqual([true, true]);
    expect([signs(secret, one), signs(old, one)]).toEqual([true, false]);
  });

  test('hears of snapshots that are taken after it came', async () => {
    const snapshot = async (number: number) =>
      appliance.deps.db
        .insertInto('snapshots')
        .values({
          ...{ id: randomUUID(), number, repository_id: 'r', state: 'stored', keyring_epoch: '1' },
          ...{ taken_at: appliance.clock.now(), stored_at: appliance.clock.now() },
          ...{ file_count: 3, size_bytes: 5, added_bytes: 1, stored_bytes: 1, duration_ms: 1 },
          ...{ problems: '[]', sources: '[]' },
        })
        .execute();
    await snapshot(1);
    await add();
    await snapshot(2);
    await queueSnapshots(deps());
    await queueSnapshots(deps());
    await deliverAll();

    expect(receiver.calls.map((call) => parse(call).data.number)).toEqual(['2']);
  });
});

describe('what is refused', () => {
  test('bad choices, a taken name, too many, and people without the right', async () => {
    await add();
    for (const wrong of [
      { name: '' },
      { events: [] },
      { events: ['nonsense'] },
      { url: 'nonsense!' },
      { least: 'ok' },
    ])
      expect((await owner.call('POST', '/webhooks', draft({ name: 'Other', ...wrong }))).status).toBe(400);
    expect((await owner.call('POST', '/webhooks', draft({ name: 'Other', allowHttp: false }))).status).toBe(
      400,
    );
    expect((await owner.call('POST', '/webhooks', draft({ name: 'PAGER' }))).status).toBe(409);
    expect((await admin.call('POST', '/webhooks', draft({ name: 'Other' }))).status).toBe(403);
    expect((await owner.call('DELETE', `/webhooks/${randomUUID()}`)).status).toBe(404);
    for (let number = 1; number < 20; number += 1) await add({ name: `Receiver ${number}` });
    expect((await owner.call('POST', '/webhooks', draft({ name: 'One more' }))).status).toBe(413);
    expect(await list()).toHaveLength(20);
  });

  test('no address and no secret is in the database, the audit log or an answer', async () => {
    const { webhook, secret } = await add();
    await expectStatus(owner.call('PUT', `/webhooks/${webhook.id}`, draft({ name: 'Pager 2' })), 200);
    receiver.behave({ status: 500 });
    await expectStatus(admin.call<Delivery>('POST', `/webhooks/${webhook.id}/test`), 202);
    await deliverAll();

    const { db } = appliance.deps;
    const kept = JSON.stringify([
      await db.selectFrom('webhooks').selectAll().execute(),
      await db.selectFrom('webhook_deliveries').selectAll().execute(),
      await db.selectFrom('audit_entries').selectAll().execute(),
      await list(),
      await log(webhook.id),
    ]);
    expect(kept).not.toContain('T0P-s3cret');
    expect(kept).not.toContain(Buffer.from('T0P-s3cret').toString('hex'));
    expect(kept).not.toContain(secret);
    expect((await list())[0]?.address).toBe(`${receiver.url}/…`);
  });
});

test('waiting grows to four hours, give or take a fifth', () => {
  expect([1, 2, 3, 20].map((attempts) => waitAfter(attempts, 0.5))).toEqual([
    10_000,
    30_000,
    90_000,
    4 * HOUR,
  ]);
  expect([0, 1].map((random) => waitAfter(1, random))).toEqual([8_000, 12_000]);
});
