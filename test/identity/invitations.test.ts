import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Invitation, SentInvitation } from '../../server/identity/invitations/schema.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import {
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

const PASSWORD = 'amber lantern walks 9';
const WEEK_MS = 7 * 24 * 3_600_000;

let appliance: TestAppliance;
let owner: TestCaller;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
});
afterAll(() => appliance.close());

const invite = (email: string, more: object = {}) =>
  expectStatus(owner.call<SentInvitation>('POST', '/invitations', { email, role: 'member', ...more }), 201);
const tokenOf = (sent: SentInvitation) => sent.link?.split('#')[1] ?? '';
const accept = (token: string, more: object = {}) =>
  appliance.stranger.call('POST', '/invitations/accept', {
    token,
    name: 'Grace',
    password: PASSWORD,
    ...more,
  });
const look = (token: string) => appliance.stranger.call('POST', '/invitations/look', { token });
const list = async () =>
  (await expectStatus(owner.call<{ items: Invitation[] }>('GET', '/invitations'), 200)).items;

async function peopleCount(): Promise<number> {
  const { count } = await appliance.deps.db
    .selectFrom('users')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .executeTakeFirstOrThrow();
  return Number(count);
}

describe('an invitation', () => {
  test('makes a person with the role and the teams it names, once', async () => {
    const team = await expectStatus(owner.call<{ id: string }>('POST', '/teams', { name: 'Surgery' }), 201);
    const sent = await invite('grace@example.org', { role: 'auditor', teamIds: [team.id] });
    expect(sent.mailed).toBe(false);
    expect((await look(tokenOf(sent))).body).toMatchObject({ email: 'grace@example.org', role: 'auditor' });

    const session = await expectStatus(accept(tokenOf(sent)), 201);

    expect(session).toMatchObject({ user: { name: 'Grace', email: 'grace@example.org', role: 'auditor' } });
    const { items } = await expectStatus(
      owner.call<{ items: { teams: object[] }[] }>('GET', '/people?search=grace'),
      200,
    );
    expect(items[0]?.teams).toEqual([{ id: team.id, name: 'Surgery' }]);
    expect((await accept(tokenOf(sent), { name: 'Again' })).status).toBe(404);
    await expect(appliance.signIn('grace@example.org', PASSWORD)).resolves.toBeDefined();
    expect((await list())[0]).toMatchObject({ state: 'accepted' });
  });

  test('accepted twice at the same moment makes one person', async () => {
    const token = tokenOf(await invite('twice@example.org'));
    const before = await peopleCount();

    const replies = await Promise.all([accept(token), accept(token), accept(token)]);

    expect(replies.map(({ status }) => status).sort()).toEqual([201, 404, 404]);
    expect(await peopleCount()).toBe(before + 1);
  });

  test.each([
    ['is made up', async () => 'A'.repeat(43)],
    [
      'was withdrawn',
      async () => {
        const sent = await invite('withdrawn@example.org');
        await expectStatus(owner.call('DELETE', `/invitations/${sent.invitation.id}`, {}), 204);
        return tokenOf(sent);
      },
    ],
    [
      'was sent again since',
      async () => {
        const sent = await invite('again@example.org');
        await expectStatus(owner.call('POST', `/invitations/${sent.invitation.id}/resend`, {}), 200);
        return tokenOf(sent);
      },
    ],
  ])('that %s is not accepted, and says no more than that', async (_what, tokenFor) => {
    const token = await tokenFor();
    const before = await peopleCount();

    const reply = await accept(token);

    expect([reply.status, (reply.body.error as { message: string }).message]).toEqual([
      404,
      'This invitation cannot be used any more',
    ]);
    expect((await look(token)).status).toBe(404);
    expect(await peopleCount()).toBe(before);
  });

  test('runs out after seven days; sent again it works', async () => {
    const sent = await invite('late@example.org');
    appliance.clock.offsetMs += WEEK_MS + 1_000;
    const late = await appliance.signIn('ada@example.org', 'copper kettle sings 7');
    expect((await accept(tokenOf(sent))).status).toBe(404);
    owner = late;
    expect((await list()).find(({ email }) => email === 'late@example.org')?.state).toBe('expired');

    const path = `/invitations/${sent.invitation.id}/resend`;
    const again = await expectStatus(owner.call<SentInvitation>('POST', path, {}), 200);

    expect((await accept(tokenOf(again))).status).toBe(201);
  });

  test('is refused for an address that somebody has, or that is invited already', async () => {
    await invite('Double@example.org');

    for (const email of ['double@EXAMPLE.org', 'ada@example.org'])
      expect((await owner.call('POST', '/invitations', { email, role: 'member' })).status).toBe(409);
  });

  test('with a weak password makes nobody and can be tried again', async () => {
    const token = tokenOf(await invite('weak@example.org'));
    const before = await peopleCount();

    expect((await accept(token, { password: 'password1' })).status).toBe(400);
    expect(await peopleCount()).toBe(before);
    expect((await accept(token)).status).toBe(201);
  });

  test('lies in the database without its token and without the address', async () => {
    const token = tokenOf(await invite('hidden.readable@example.org'));

    const text = await withClient(appliance.database.adminAddress, 'test', async (client) => {
      const { rows } = await client.query<{ all: string }>(
        `select (select string_agg(i::text, '') from invitations i)
           || (select string_agg(m::text, '') from mail_messages m) || (select string_agg(a::text, '') from audit_entries a) as all`,
      );
      return rows[0]?.all ?? '';
    });

    const hex = (value: string) => Buffer.from(value).toString('hex');
    for (const secret of [token, hex(token), 'hidden.readable', hex('hidden.readable')])
      expect(text).not.toContain(secret);
  });
});

describe('a team', () => {
  test('has a name of its own, and people that come and go', async () => {
    const { userId } = await appliance.addPerson('member');
    const { id } = await expectStatus(owner.call<{ id: string }>('POST', '/teams', { name: 'Ward 3' }), 201);

    expect((await owner.call('POST', '/teams', { name: 'ward 3' })).status).toBe(409);
    const renamed = await expectStatus(owner.call('PATCH', `/teams/${id}`, { name: 'Ward 4' }), 200);
    expect(renamed).toMatchObject({ name: 'Ward 4', people: 0 });
    for (let time = 0; time < 2; time += 1) {
      const joined = await expectStatus(owner.call('PUT', `/teams/${id}/members/${userId}`, {}), 200);
      expect(joined).toMatchObject({ members: [{ id: userId }] });
    }
    const left = await expectStatus(owner.call('DELETE', `/teams/${id}/members/${userId}`, {}), 200);
    expect(left).toMatchObject({ members: [] });
  });
});
