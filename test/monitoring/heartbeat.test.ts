/** The call that says outside that this appliance lives, before a real HTTP server. */
import { randomUUID } from 'node:crypto';
import { beforeEach, expect, test } from 'vitest';
import { beat, checkOutgoing } from '../../server/monitoring/index.ts';
import type { HeartbeatReply } from '../../server/monitoring/heartbeat/schema.ts';
import { sendDeps } from '../../server/send-deps.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { withReceiver, type WithReceiver } from './with-receiver.ts';

const MINUTE = 60_000;
const SECRET = '7d1e-s3cret';
let { appliance, owner, admin, receiver } = {} as WithReceiver;
withReceiver((them) => ({ appliance, owner, admin, receiver } = them));
beforeEach(async () => {
  await appliance.deps.db.deleteFrom('alerts').execute();
  await appliance.deps.db.deleteFrom('heartbeat').execute();
});

const deps = () => sendDeps(appliance.deps);
const setUp = (change: object = {}) =>
  owner.call<HeartbeatReply>('PUT', '/settings/heartbeat', {
    ...{ url: `${receiver.url}/${SECRET}`, method: 'GET', everyMinutes: 5, allowHttp: true, paused: false },
    ...change,
  });
/** A look each minute. @returns in which minutes it called. */
async function pass(minutes: number): Promise<number[]> {
  const called: number[] = [];
  for (let minute = 0; minute < minutes; minute += 1) {
    if (await beat(deps())) called.push(minute);
    const row = await appliance.deps.db.selectFrom('heartbeat').selectAll().executeTakeFirst();
    const earlier = (at: Date | null | undefined) => (at ? new Date(at.getTime() - MINUTE) : null);
    await appliance.deps.db
      .updateTable('heartbeat')
      .set({ called_at: earlier(row?.called_at), failing_since: earlier(row?.failing_since) })
      .execute();
  }
  return called;
}
async function problem(): Promise<string> {
  const now = appliance.clock.now();
  const id = randomUUID();
  await appliance.deps.db
    .insertInto('alerts')
    .values({ id, name: 'data disk', state: 'bad', message: 'Full', first_seen_at: now, raised_at: now })
    .execute();
  return id;
}

test('it is called at its interval, and at once when there is something else to say', async () => {
  await expectStatus(setUp({ failureUrl: `${receiver.url}/${SECRET}/fail` }), 200);
  expect(await pass(11)).toEqual([0, 5, 10]);

  const id = await problem();
  expect(await pass(7)).toEqual([0, 5]);
  await appliance.deps.db.deleteFrom('alerts').where('id', '=', id).execute();
  expect(await pass(2)).toEqual([0]);

  expect(receiver.calls.map(({ method, path }) => `${method} ${path}`)).toEqual([
    ...Array<string>(3).fill(`GET /${SECRET}`),
    ...Array<string>(2).fill(`GET /${SECRET}/fail`),
    `GET /${SECRET}`,
  ]);
});

test('without a way to say that something is bad it is silent then, until somebody takes care of it', async () => {
  await expectStatus(setUp(), 200);
  const id = await problem();
  expect(await pass(12)).toEqual([]);
  expect((await admin.call('POST', '/settings/heartbeat/call')).status).toBe(409);

  await expectStatus(admin.call('POST', `/alerts/${id}/acknowledge`, { days: 1 }), 200);
  expect(await pass(6)).toEqual([0, 5]);
});

test('an address takes the state, and a POST says it in its body', async () => {
  await expectStatus(
    setUp({ url: `${receiver.url}/push/x?status={status}&msg={message}`, method: 'POST' }),
    200,
  );
  await problem();
  expect(await pass(1)).toEqual([0]);

  expect(receiver.calls[0]?.path).toBe('/push/x?status=down&msg=Needs%20somebody%3A%20data%20disk');
  expect(JSON.parse(receiver.calls[0]?.body ?? '')).toMatchObject({ status: 'down' });
});

test('one that is not answered is called each minute, said after a while, and well again with the next answer', async () => {
  await expectStatus(setUp(), 200);
  receiver.behave({ status: 502 });
  expect(await pass(4)).toEqual([0, 1, 2, 3]);
  expect(await checkOutgoing(appliance.deps)).toMatchObject([
    { name: 'heartbeat', state: 'warn', message: 'The heartbeat is not answered: Answered 502' },
  ]);
  await pass(70);
  expect(await checkOutgoing(appliance.deps)).toMatchObject([{ state: 'bad' }]);

  receiver.behave({ status: 200 });
  await pass(1);
  expect(await checkOutgoing(appliance.deps)).toEqual([]);
});

test('of two servers that look at once one calls', async () => {
  await expectStatus(setUp(), 200);

  expect((await Promise.all([beat(deps()), beat(deps()), beat(deps())])).filter(Boolean)).toHaveLength(1);
});

test('in quarantine nobody is called, also when asked', async () => {
  await expectStatus(setUp(), 200);
  const held = { ...deps(), isHeld: async () => true };

  expect([await beat(held), await beat(held, { now: true })]).toEqual([false, false]);
  expect(receiver.calls).toEqual([]);
});

test('a paused one calls only when asked, and is said', async () => {
  await expectStatus(setUp({ paused: true }), 200);
  expect(await pass(10)).toEqual([]);
  const { heartbeat } = await expectStatus(
    admin.call<HeartbeatReply>('POST', '/settings/heartbeat/call'),
    200,
  );

  expect(heartbeat).toMatchObject({ paused: true, answer: { status: 200 }, toldState: 'up' });
  expect(await checkOutgoing(appliance.deps)).toMatchObject([{ name: 'heartbeat', state: 'warn' }]);
});

test('the address is kept sealed, stays when it is left out, and is shown masked; nonsense is refused', async () => {
  for (const wrong of [
    { url: 'nonsense!' },
    { everyMinutes: 0 },
    { everyMinutes: 61 },
    { method: 'PUT' },
    { allowHttp: false },
  ])
    expect((await setUp(wrong)).status).toBe(400);
  expect((await setUp({ url: undefined })).status).toBe(400);
  await expectStatus(setUp({ failureUrl: `${receiver.url}/${SECRET}/fail` }), 200);
  const { heartbeat } = await expectStatus(setUp({ url: undefined, everyMinutes: 60 }), 200);
  expect(heartbeat).toMatchObject({
    address: `${receiver.url}/…`,
    failureAddress: `${receiver.url}/…`,
    tellsDown: true,
  });
  expect((await setUp({ url: undefined, allowHttp: false })).status).toBe(400);
  receiver.behave({ status: 500 });
  await expectStatus(admin.call('POST', '/settings/heartbeat/call'), 200);

  const { db } = appliance.deps;
  const kept = JSON.stringify([
    await db.selectFrom('heartbeat').selectAll().execute(),
    await db.selectFrom('audit_entries').selectAll().execute(),
    (await admin.call('GET', '/settings/heartbeat')).body,
  ]);
  expect(kept).not.toContain(SECRET);
  expect((await owner.call('PUT', '/settings/heartbeat', {})).status).toBe(400);
  expect((await admin.call('PUT', '/settings/heartbeat', {})).status).toBe(403);
  expect((await admin.call('DELETE', '/settings/heartbeat')).status).toBe(403);
  expect((await owner.call('DELETE', '/settings/heartbeat')).status).toBe(204);
  expect((await owner.call('DELETE', '/settings/heartbeat')).status).toBe(404);
  expect((await admin.call('POST', '/settings/heartbeat/call')).status).toBe(404);
});
