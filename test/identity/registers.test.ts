import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { remindOfRegisters } from '../../server/identity/index.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import {
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

type Someone = TestCaller & { userId: string; email: string };
interface Entry {
  id: string;
  person: { id: string; here: boolean };
  kind: string;
  what: string;
  doneOn: string | null;
  dueOn: string | null;
  state: string;
  version: number;
}
interface Result {
  rows: number;
  fresh: number;
  known: number;
  imported: number;
  problemCount: number;
  problems: { line: number; message: string }[];
}

const DAY_MS = 86_400_000;
let appliance: TestAppliance;
let owner: TestCaller;
let admin: Someone;
let auditor: Someone;
let member: Someone;

beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  admin = await appliance.addPerson('admin');
  auditor = await appliance.addPerson('auditor');
  member = await appliance.addPerson('member');
});
afterAll(() => appliance.close());
beforeEach(async () => {
  appliance.clock.offsetMs = 0;
  await appliance.deps.db.deleteFrom('register_entries').execute();
  await settings({ remindDays: 30, newcomers: [] });
});

const settings = (body: object) => expectStatus(owner.call('PUT', '/settings/registers', body), 200);
const inDays = (days: number) => new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 10);
const parts = (more: object = {}) => ({
  ...{ kind: 'training', what: 'Fire safety', doneOn: inDays(-10), dueOn: inDays(300) },
  ...{ reference: 'Folder 7', note: '', ...more },
});
const add = (more: object = {}) =>
  expectStatus(owner.call<Entry>('POST', '/registers', { userId: member.userId, ...parts(more) }), 201);
const list = async (query = '', who: TestCaller = owner) =>
  (
    await expectStatus(
      who.call<{ items: Entry[]; total: number; overdue: number }>('GET', `/registers${query}`),
      200,
    )
  ).items;
const bring = (csv: string, apply = true) =>
  expectStatus(owner.call<Result>('POST', '/registers/import', { csv, apply }), 200);

describe('what is refused', () => {
  test('an entry that is neither done nor due, done tomorrow week, over before it was done, or of nobody', async () => {
    const wrong = [
      { doneOn: null, dueOn: null },
      { doneOn: inDays(9), dueOn: null },
      { doneOn: inDays(-1), dueOn: inDays(-2) },
      { dueOn: '2027-02-30' },
      { what: '  ' },
      { what: 'x'.repeat(201) },
      { kind: 'hobby' },
    ];

    for (const more of wrong)
      expect([
        more,
        (await owner.call('POST', '/registers', { userId: member.userId, ...parts(more) })).status,
      ]).toEqual([more, 400]);
    expect((await owner.call('POST', '/registers', { userId: randomUUID(), ...parts() })).status).toBe(404);
    expect(await list()).toEqual([]);
  });

  test('administrators and members: only owners keep them, only auditors read along, and each sees their own', async () => {
    const entry = await add();

    for (const who of [admin, member]) {
      expect((await who.call('GET', '/registers')).status).toBe(403);
      expect((await who.call('GET', '/registers/export')).status).toBe(403);
    }
    expect((await auditor.call('PATCH', `/registers/${entry.id}`, { ...parts(), version: 1 })).status).toBe(
      403,
    );
    expect(await list('', auditor)).toHaveLength(1);
    const own = async (who: TestCaller) =>
      (await expectStatus(who.call<{ items: Entry[] }>('GET', '/me/register'), 200)).items.map(
        (one) => one.id,
      );
    expect([await own(member), await own(admin)]).toEqual([[entry.id], []]);
  });

  test('a change of what was changed meanwhile', async () => {
    const { id, version } = await add();
    const change = (what: string) => owner.call('PATCH', `/registers/${id}`, { ...parts({ what }), version });

    const replies = await Promise.all([change('One'), change('Two'), change('Three')]);

    expect(replies.map((reply) => reply.status).sort()).toEqual([200, 409, 409]);
  });
});

describe('an entry', () => {
  test('lies sealed, and its changes stand in the audit log without the words', async () => {
    const { id, version } = await add({ what: 'Zanzibar course', note: 'Marmalade' });
    await expectStatus(
      owner.call('PATCH', `/registers/${id}`, {
        ...parts({ what: 'Zanzibar course' }),
        version,
        dueOn: inDays(9),
      }),
      200,
    );
    await expectStatus(owner.call('DELETE', `/registers/${id}`), 204);

    const entries = await appliance.deps.db
      .selectFrom('audit_entries')
      .select(['action', 'detail'])
      .where('object_id', '=', id)
      .orderBy('number')
      .execute();
    expect(entries.map((one) => one.action)).toEqual([
      'identity.register-entry.added',
      'identity.register-entry.changed',
      'identity.register-entry.removed',
    ]);
    expect(JSON.stringify(entries)).not.toMatch(/Zanzibar|Marmalade/);
    await add({ what: 'Zanzibar course' });
    const raw = await withClient(appliance.database.adminAddress, 'test', (client) =>
      client.query<{ text: string }>('select t::text as text from register_entries t'),
    );
    expect(Buffer.from(JSON.stringify(raw.rows)).includes('Zanzibar')).toBe(false);
  });

  test('is overdue, due soon, done, done again since, or of somebody who left; and is found by that', async () => {
    const leaver = await appliance.addPerson('member');
    await add({ what: 'Late', doneOn: inDays(-400), dueOn: inDays(-1) });
    await add({ what: 'Soon', doneOn: null, dueOn: inDays(20) });
    await add({ what: 'Fine', kind: 'confidentiality', dueOn: null });
    await add({ what: 'Again', doneOn: inDays(-400), dueOn: inDays(-30) });
    await add({ what: 'again', doneOn: inDays(-20), dueOn: inDays(345) });
    await expectStatus(
      owner.call('POST', '/registers', {
        userId: leaver.userId,
        ...parts({ what: 'Gone', dueOn: inDays(-3) }),
        doneOn: null,
      }),
      201,
    );
    await expectStatus(owner.call('POST', `/people/${leaver.userId}/deactivate`), 200);

    const states = Object.fromEntries((await list('?sort=what')).map((one) => [one.what, one.state]));
    expect(states).toEqual({
      ...{ Late: 'overdue', Soon: 'soon', Fine: 'done', Again: 'replaced', again: 'done', Gone: 'left' },
    });
    const names = async (query: string) => (await list(query)).map((one) => one.what);
    expect(await names('?state=overdue')).toEqual(['Late']);
    expect(await names('?kind=confidentiality')).toEqual(['Fine']);
    expect(await names('?search=folder%207&sort=due&limit=2')).toEqual(['Again', 'Gone']);
    expect(await names('?sort=due&offset=2&limit=2')).toEqual(['Late', 'Soon']);
    expect(await names(`?person=${leaver.userId}`)).toEqual(['Gone']);
  });
});

describe('whoever joins', () => {
  test('has to do what the setting says', async () => {
    await settings({
      remindDays: 30,
      newcomers: [
        { kind: 'confidentiality', what: 'Undertaking', days: 14 },
        { kind: 'background-check', what: 'Certificate of conduct', days: 60 },
      ],
    });
    const { link } = await expectStatus(
      owner.call<{ link: string }>('POST', '/invitations', {
        email: 'new@example.org',
        role: 'member',
        teamIds: [],
      }),
      201,
    );
    const accepted = await appliance.stranger.call<{ user: { id: string } }>('POST', '/invitations/accept', {
      ...{ token: link.split('#')[1], name: 'Newcomer', password: 'amber lantern walks 9' },
    });

    const due = await list(`?person=${accepted.body.user.id}`);
    expect(due.map(({ what, doneOn, dueOn, state }) => [what, doneOn, dueOn, state])).toEqual([
      ['Undertaking', null, inDays(14), 'soon'],
      ['Certificate of conduct', null, inDays(60), 'due'],
    ]);
  });
});

describe('a file', () => {
  const HEAD = 'email,kind,what,done on,due on,reference,note';

  test('with something wrong names each line and brings nothing in', async () => {
    const csv = [
      HEAD,
      `${member.email},training,Fire safety,2026-01-10,2027-01-10,,`,
      'nobody@example.org,training,Fire safety,2026-01-10,,,',
      '',
      `${member.email},hobby,Chess,2026-01-10,,,`,
      `${member.email},training,"Two`,
      `lines",2026-01-10,,,`,
      `${member.email},training,Fire safety,10.1.2026,,,`,
      `${member.email},training,Fire safety,,,,`,
      `${member.email},training,Fire safety,2026-01-10,,,,more`,
    ].join('\r\n');

    const { problems, imported } = await bring(csv);

    expect(imported).toBe(0);
    expect(problems).toEqual([
      { line: 3, message: 'Nobody here has the address "nobody@example.org"' },
      { line: 5, message: expect.stringContaining('"hobby" is no kind') as string },
      { line: 6, message: '"what" holds a line break or a control character' },
      { line: 8, message: '"10.1.2026" is no day; write it as 2027-03-31' },
      { line: 9, message: expect.stringContaining('neither done nor due') as string },
      { line: 10, message: 'It has more cells than the first line' },
    ]);
    expect(await list()).toEqual([]);
  });

  test('with many things wrong says how many, and tells the first', async () => {
    const { problems, problemCount } = await bring(
      `${HEAD}\n${`${member.email},hobby,Chess,2026-01-10,,,\n`.repeat(120)}`,
    );

    expect([problems.length, problemCount]).toEqual([50, 120]);
  });

  test('brings in what is not there yet, and leaves out what is there to the letter or twice in it', async () => {
    const line = (what: string, note = '') => `${member.email},training,${what},2026-01-10,,,${note}`;
    await bring([HEAD, line('Fire safety'), line('First aid')].join('\n'));
    const grown = [HEAD, line('First aid'), line('Hygiene'), line('Hygiene'), line('Fire safety', 'again')];

    expect(await bring(grown.join('\n'), false)).toMatchObject({ rows: 4, fresh: 2, known: 2, imported: 0 });
    expect(await list()).toHaveLength(2);
    const both = await Promise.all([bring(grown.join('\n')), bring(grown.join('\n'))]);

    expect(both.map(({ imported }) => imported).sort()).toEqual([0, 2]);
    expect((await list()).map(({ what }) => what).sort()).toEqual([
      ...['Fire safety', 'Fire safety', 'First aid', 'Hygiene'],
    ]);
  });

  test('without its columns, with a quote that is open, or too long is refused', async () => {
    const refused = async (csv: string) => {
      const { status, body } = await owner.call<{ error: { message: string } }>('POST', '/registers/import', {
        ...{ csv, apply: true },
      });
      return [status, body.error.message];
    };

    expect(await refused('email,kind\r\n')).toEqual([400, 'Line 1: the column "what" is missing']);
    expect(await refused('email,kind,what,colour\r\n')).toEqual([
      400,
      'Line 1: the column "colour" is not known',
    ]);
    expect(await refused(`${HEAD}\r\n${member.email},training,"open\r\n`)).toEqual([
      400,
      'Line 2: a quote is not closed',
    ]);
    expect((await refused(`${HEAD}\n${`${member.email},training,x,2026-01-01,,,\n`.repeat(2001)}`))[0]).toBe(
      400,
    );
  });

  test('that is right comes in whole, and what goes out comes in again; what a spreadsheet would run is text', async () => {
    const csv = `\uFEFFe-mail;Kind;What;Done on;Due on;Reference;Note\n${member.email.toUpperCase()};Background check;"=HYPERLINK(""x"")";2026-01-10;2031-01-10;A 7;\n`;
    expect(await bring(csv, false)).toEqual({
      ...{ rows: 1, fresh: 1, known: 0, imported: 0, problemCount: 0, problems: [] },
    });
    expect((await bring(csv)).imported).toBe(1);

    const { body } = await auditor.call<string>('GET', '/registers/export');
    expect(body).toContain(`"'=HYPERLINK(""x"")"`);
    await appliance.deps.db.deleteFrom('register_entries').execute();
    expect((await bring(body)).imported).toBe(1);
    expect(await list()).toMatchObject([
      { what: '=HYPERLINK("x")', kind: 'background-check', dueOn: '2031-01-10' },
    ]);
  });
});

test('people are reminded before and after, owners told once, and nobody of what was done again or who left', async () => {
  await add({ what: 'Fire safety', doneOn: null, dueOn: inDays(40) });
  await add({ what: 'Again', doneOn: inDays(-400), dueOn: inDays(39) });
  await add({ what: 'Again', doneOn: inDays(-1), dueOn: inDays(399) });
  const count = async (template: string) =>
    Number(
      (
        await appliance.deps.db
          .selectFrom('mail_messages')
          .select((eb) => eb.fn.countAll().as('count'))
          .where('template', '=', template)
          .executeTakeFirstOrThrow()
      ).count,
    );
  const told = async (days: number) => {
    const before = [await count('register-due'), await count('register-overdue')];
    appliance.clock.offsetMs = days * DAY_MS;
    await remindOfRegisters(appliance.deps);
    await remindOfRegisters(appliance.deps);
    return [
      (await count('register-due')) - (before[0] ?? 0),
      (await count('register-overdue')) - (before[1] ?? 0),
    ];
  };

  expect(await told(5)).toEqual([0, 0]);
  expect(await told(12)).toEqual([1, 0]);
  expect(await told(20)).toEqual([0, 0]);
  expect(await told(39)).toEqual([1, 0]);
  expect(await told(42)).toEqual([1, 1]);
  expect(await told(50)).toEqual([1, 0]);
});
