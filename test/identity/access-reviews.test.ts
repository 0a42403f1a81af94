import { createHash, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { keepAccessReviews } from '../../server/identity/index.ts';
import { addMonths, reminderDue } from '../../server/identity/access-reviews/review-times.ts';
import { canonicalJson } from '../../server/lib/canonical-json.ts';
import { reviewWorkspaces } from '../../server/workspaces/index.ts';
import {
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import { createTestWorkspace } from '../helpers/workspaces.ts';

type Someone = TestCaller & { userId: string; email: string };
interface Item {
  id: string;
  kind: string;
  person: { id: string; name: string } | null;
  workspace: { id: string; name: string } | null;
  facts: Record<string, unknown>;
  changes: string[];
  unchanged: boolean;
  decision: { decision: string; outcome: string; note: string; auditEntries: string[] } | null;
  can: string[];
  whyNot: string | null;
  version: string;
}
interface Detail {
  id: string;
  number: number;
  state: string;
  sha256: string | null;
  counts: { items: number; decided: number };
  yours: number;
  unchanged: number;
  unchangedByKind: Record<string, number>;
  can: { sign: boolean; export: boolean };
}

const DAY_MS = 86_400_000;
let appliance: TestAppliance;
let owner: TestCaller;
let second: Someone;
let auditor: Someone;
let manager: Someone;
let member: Someone;
let workspaceId: string;

beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  second = await appliance.addPerson('owner');
  auditor = await appliance.addPerson('auditor');
  manager = await appliance.addPerson('member');
  member = await appliance.addPerson('member');
  workspaceId = (await createTestWorkspace(appliance.deps, manager.userId, 'Surgery')).id;
});
afterAll(() => appliance.close());
beforeEach(async () => {
  appliance.clock.offsetMs = 0;
  const { db } = appliance.deps;
  const open = await db.selectFrom('access_reviews').select('id').where('state', '=', 'open').execute();
  for (const { id } of open) {
    await db.deleteFrom('access_review_items').where('review_id', '=', id).execute();
    await db.deleteFrom('access_reviews').where('id', '=', id).execute();
  }
  await setLevel(member, 'viewer');
});

async function setLevel(who: Someone, role: string): Promise<void> {
  await expectStatus(manager.call('PUT', `/workspaces/${workspaceId}/people/${who.userId}`, { role }), 200);
}

const start = () => expectStatus(owner.call<Detail>('POST', '/access-reviews', {}), 201);
const show = (who: TestCaller, id: string) =>
  expectStatus(who.call<Detail>('GET', `/access-reviews/${id}`), 200);
const items = async (who: TestCaller, id: string, query = '') =>
  (
    await expectStatus(
      who.call<{ items: Item[] }>('GET', `/access-reviews/${id}/items?limit=200${query}`),
      200,
    )
  ).items;
const find = async (who: TestCaller, id: string, kind: string, personId: string) => {
  const found = (await items(who, id)).find((one) => one.kind === kind && one.person?.id === personId);
  if (found === undefined) throw new Error(`no ${kind} of ${personId}`);
  return found;
};
const decide = (who: TestCaller, id: string, item: Item, body: object) =>
  who.call<Detail & { error?: { code: string; message: string } }>(
    'POST',
    `/access-reviews/${id}/items/${item.id}/decision`,
    { version: item.version, ...body },
  );
/** Both owners together keep what is left. */
async function keepRest(id: string): Promise<void> {
  for (const who of [owner, second])
    for (const item of await items(who, id, '&state=yours'))
      await expectStatus(decide(who, id, item, { decision: 'keep' }), 200);
}
const ownerId = async () =>
  (await expectStatus(owner.call<{ user: { id: string } }>('GET', '/session'), 200)).user.id;
const tidy = () => keepAccessReviews({ ...appliance.deps, workspaces: reviewWorkspaces(appliance.deps) });
const mails = async (template = 'access-review') =>
  (
    await appliance.deps.db
      .selectFrom('mail_messages')
      .select('user_id')
      .where('template', '=', template)
      .orderBy('created_at')
      .execute()
  ).map((row) => row.user_id);

describe('what is refused', () => {
  test('a second review while one is open', async () => {
    await start();

    expect((await owner.call('POST', '/access-reviews', {})).status).toBe(409);
  });

  test('deciding what is for others: by auditors, by members who manage nothing, by managers of other things, and about oneself', async () => {
    const { id } = await start();
    const account = await find(owner, id, 'account', member.userId);
    const own = await find(owner, id, 'account', await ownerId());
    const before = await appliance.deps.db
      .selectFrom('access_review_items')
      .select('id')
      .where('decision', 'is not', null)
      .execute();

    expect((await decide(auditor, id, account, { decision: 'keep' })).status).toBe(403);
    expect((await decide(member, id, account, { decision: 'keep' })).status).toBe(404);
    expect((await decide(manager, id, account, { decision: 'keep' })).status).toBe(404);
    expect((await decide(owner, id, own, { decision: 'keep' })).body.error?.message).toContain('your own');
    expect(before).toEqual([]);
  });

  test('a change to nothing, to what it is, and what a thing of its kind cannot become', async () => {
    const { id } = await start();
    const membership = await find(manager, id, 'workspace', member.userId);

    for (const to of [undefined, 'viewer', 'owner'])
      expect(
        (await decide(manager, id, membership, { decision: 'change', ...(to === undefined ? {} : { to }) }))
          .status,
      ).toBe(400);
    expect((await find(manager, id, 'workspace', member.userId)).decision).toBeNull();
  });

  test('a decision about what has changed since it was looked at, and one that was taken meanwhile', async () => {
    const { id } = await start();
    const seen = await find(manager, id, 'workspace', member.userId);
    await setLevel(member, 'editor');

    const late = await decide(manager, id, seen, { decision: 'keep' });
    expect([late.status, late.body.error?.code]).toEqual([409, 'conflict']);
    const now = await find(manager, id, 'workspace', member.userId);
    expect(now.changes).toEqual(['Level: was viewer, is now editor']);
    const replies = await Promise.all(
      [manager, owner, second].map((who) => decide(who, id, now, { decision: 'remove' })),
    );
    expect(replies.map((reply) => reply.status).sort()).toEqual([200, 409, 409]);
  });

  test('taking the role or the account of the last owner', async () => {
    const { id } = await start();
    const account = await find(second, id, 'account', await ownerId());
    await appliance.deps.db
      .updateTable('users')
      .set({ disabled_at: new Date() })
      .where('id', '=', second.userId)
      .execute();

    const own = await find(owner, id, 'account', await ownerId());
    const reply = await decide(owner, id, own, { decision: 'remove' });
    await appliance.deps.db
      .updateTable('users')
      .set({ disabled_at: null })
      .where('id', '=', second.userId)
      .execute();

    expect([reply.status, reply.body.error?.message]).toEqual([
      409,
      'This is the last owner, and one must remain',
    ]);
    expect((await find(second, id, 'account', await ownerId())).decision).toBeNull();
    expect(account.can).toEqual(['keep', 'change', 'remove']);
  });

  test('signing while something is undecided, and by who is no owner', async () => {
    const { id } = await start();

    const early = await owner.call('POST', `/access-reviews/${id}/sign-off`, { statement: 'All is well' });
    expect([early.status, JSON.stringify(early.body)]).toEqual([409, expect.stringContaining('undecided')]);
    expect((await auditor.call('POST', `/access-reviews/${id}/sign-off`, { statement: 'x' })).status).toBe(
      403,
    );
    expect((await manager.call('POST', `/access-reviews/${id}/sign-off`, { statement: 'x' })).status).toBe(
      403,
    );
  });

  test('a decision without a fresh proof', async () => {
    const { id } = await start();
    const item = await find(manager, id, 'workspace', member.userId);
    manager.proves = false;
    appliance.clock.offsetMs = 11 * 60_000;
    const reply = await decide(manager, id, item, { decision: 'keep' });
    manager.proves = true;

    expect(reply.body.error?.code).toBe('step_up_required');
  });
});

describe('what each sees', () => {
  test('managers see the members of their workspaces only, members who manage nothing see no review, auditors all and decide nothing', async () => {
    const { id, counts } = await start();

    const seen = await items(manager, id);
    expect(new Set(seen.map((one) => one.workspace?.id))).toEqual(new Set([workspaceId]));
    expect((await show(manager, id)).counts.items).toBe(2);
    expect((await member.call('GET', `/access-reviews/${id}`)).status).toBe(404);
    expect((await member.call('GET', `/access-reviews/${id}/items`)).status).toBe(404);
    expect(await expectStatus(member.call('GET', '/access-reviews'), 200)).toMatchObject({ items: [] });
    expect((await show(auditor, id)).counts.items).toBe(counts.items);
    expect((await items(auditor, id)).every((one) => one.can.length === 0)).toBe(true);
    expect((await manager.call('GET', `/access-reviews/${id}/export`)).status).toBe(403);
  });

  test('whoever has something to decide is told by mail and at the top of the pages', async () => {
    const before = (await mails()).length;
    await start();

    const told = (await mails()).slice(before);
    expect(told.sort()).toEqual([await ownerId(), second.userId, manager.userId].sort());
    const banners = async (who: TestCaller) =>
      (await expectStatus(who.call<{ banners: { kind: string }[] }>('GET', '/session'), 200)).banners.map(
        (one) => one.kind,
      );
    expect(await banners(manager)).toContain('access-review');
    expect(await banners(member)).not.toContain('access-review');
  });
});

describe('a decision', () => {
  test('changes and removes at once, by the same acts as the pages of people, and says which entries of the audit log', async () => {
    const leaver = await appliance.addPerson('member');
    await setLevel(leaver, 'viewer');
    const { id } = await start();

    const membership = await find(manager, id, 'workspace', member.userId);
    await expectStatus(
      decide(manager, id, membership, { decision: 'change', to: 'editor', note: 'Works on plans' }),
      200,
    );
    await expectStatus(
      decide(manager, id, await find(manager, id, 'workspace', leaver.userId), { decision: 'remove' }),
      200,
    );
    const account = await find(owner, id, 'account', leaver.userId);
    await expectStatus(decide(owner, id, account, { decision: 'remove' }), 200);

    expect((await leaver.call('GET', '/session')).status).toBe(401);
    const { people } = await expectStatus(
      manager.call<{ people: { id: string; role: string }[] }>('GET', `/workspaces/${workspaceId}/members`),
      200,
    );
    expect(people.find((one) => one.id === member.userId)?.role).toBe('editor');
    expect(people.some((one) => one.id === leaver.userId)).toBe(false);
    const decided = await find(owner, id, 'account', leaver.userId);
    expect(decided.decision).toMatchObject({ decision: 'remove', outcome: 'Deactivated' });
    const entries = await appliance.deps.db
      .selectFrom('audit_entries')
      .select(['action'])
      .where('id', 'in', decided.decision?.auditEntries ?? [])
      .orderBy('number')
      .execute();
    expect(entries.map((one) => one.action)).toEqual([
      'identity.access-review.decided',
      'identity.user.deactivated',
    ]);
    expect((await find(owner, id, 'workspace', member.userId)).decision).toMatchObject({
      outcome: 'Level changed to editor',
      note: 'Works on plans',
    });
  });

  test('a role is changed and a key revoked', async () => {
    const helper = await appliance.addPerson('admin');
    const made = await expectStatus(
      helper.call<{ key: { id: string }; token: string }>('POST', '/api-keys', {
        ...{ name: 'Watcher', workspaceId: null, rights: ['operations.read'] },
      }),
      201,
    );
    const { id } = await start();

    await expectStatus(
      decide(owner, id, await find(owner, id, 'api-key', helper.userId), { decision: 'remove' }),
      200,
    );
    await expectStatus(
      decide(owner, id, await find(owner, id, 'account', helper.userId), {
        decision: 'change',
        to: 'member',
      }),
      200,
    );

    const withKey = await appliance.stranger.call('GET', '/overview', undefined, {
      headers: { authorization: `Bearer ${made.token}` },
    });
    expect(withKey.status).toBe(401);
    expect(await expectStatus(owner.call('GET', `/people/${helper.userId}`), 200)).toMatchObject({
      role: 'member',
    });
  });

  test('what is gone meanwhile says so and can only be noted', async () => {
    const gone = await appliance.addPerson('member');
    await setLevel(gone, 'viewer');
    const { id } = await start();
    await expectStatus(manager.call('DELETE', `/workspaces/${workspaceId}/people/${gone.userId}`, {}), 200);

    const item = await find(manager, id, 'workspace', gone.userId);
    expect([item.changes, item.can]).toEqual([['It is gone meanwhile'], ['keep']]);
    await expectStatus(decide(manager, id, item, { decision: 'keep' }), 200);
    expect((await find(manager, id, 'workspace', gone.userId)).decision?.outcome).toBe('It was gone already');
  });
});

describe('a signed review', () => {
  test('does not change any more, not even in the database, and its export holds what the audit log says', async () => {
    const { id } = await start();
    await keepRest(id);
    expect((await show(owner, id)).can.sign).toBe(true);

    const signed = await expectStatus(
      owner.call<Detail>('POST', `/access-reviews/${id}/sign-off`, { statement: 'Looked at with care' }),
      200,
    );

    expect(signed.state).toBe('signed');
    const [item] = await items(owner, id);
    expect(item?.can).toEqual([]);
    expect((await owner.call('POST', `/access-reviews/${id}/sign-off`, { statement: 'Again' })).status).toBe(
      409,
    );
    if (item !== undefined)
      expect((await decide(second, id, { ...item, version: 'any' }, { decision: 'remove' })).status).toBe(
        409,
      );
    const { db } = appliance.deps;
    for (const attempt of [
      () =>
        db
          .updateTable('access_review_items')
          .set({ decision: 'remove' })
          .where('review_id', '=', id)
          .execute(),
      () => db.deleteFrom('access_review_items').where('review_id', '=', id).execute(),
      () => db.updateTable('access_reviews').set({ state: 'open' }).where('id', '=', id).execute(),
      () => db.deleteFrom('access_reviews').where('id', '=', id).execute(),
    ])
      await expect(attempt()).rejects.toThrow('never changed or removed');

    const { body } = await auditor.call<{
      sha256: string;
      record: { items: { auditEntries: string[] }[] };
      words: { statement: string };
    }>('GET', `/access-reviews/${id}/export?format=json`);
    expect(createHash('sha256').update(canonicalJson(body.record)).digest('hex')).toBe(body.sha256);
    expect(body.words.statement).toBe('Looked at with care');
    const entry = await db
      .selectFrom('audit_entries')
      .select('detail')
      .where('action', '=', 'identity.access-review.signed')
      .where('object_id', '=', id)
      .executeTakeFirstOrThrow();
    expect(entry.detail).toMatchObject({ sha256: body.sha256 });
    const ids = body.record.items.flatMap((one) => one.auditEntries);
    const found = await db.selectFrom('audit_entries').select('id').where('id', 'in', ids).execute();
    expect(found.length).toBe(new Set(ids).size);
    expect(ids.length).toBeGreaterThan(0);
  });

  test('a name that a spreadsheet would run is text in the CSV', async () => {
    const nasty = await appliance.addPerson('member');
    await expectStatus(
      owner.call('PATCH', `/people/${nasty.userId}`, { name: '=HYPERLINK("https://evil.example")' }),
      200,
    );
    const { id } = await start();

    const { body, headers } = await auditor.call<string>('GET', `/access-reviews/${id}/export?format=csv`);

    expect(headers['content-type']).toContain('text/csv');
    expect(body).toContain(`"'=HYPERLINK(""https://evil.example"")"`);
    expect(body).not.toMatch(/(^|[,\n])"?=/);
  });

  test('what was kept and has not changed can be kept together next time, by the number that was shown', async () => {
    const first = await start();
    await keepRest(first.id);
    await expectStatus(
      owner.call('POST', `/access-reviews/${first.id}/sign-off`, { statement: 'Looked at' }),
      200,
    );
    await setLevel(member, 'editor');
    const { id } = await start();
    const { unchanged, unchangedByKind, yours } = await show(owner, id);
    expect(unchanged).toBe(yours - 1);
    const seen = await items(owner, id, '&state=unchanged');
    const waiting = seen.filter(({ can }) => can.length > 0);
    for (const kind of ['account', 'team', 'workspace', 'api-key'] as const)
      expect(unchangedByKind[kind]).toBe(waiting.filter((one) => one.kind === kind).length);

    expect(
      (await owner.call('POST', `/access-reviews/${id}/keep-unchanged`, { count: unchanged + 1 })).status,
    ).toBe(409);
    await expectStatus(owner.call('POST', `/access-reviews/${id}/keep-unchanged`, { count: unchanged }), 200);

    const left = await items(owner, id, '&state=yours');
    expect(left.map((one) => [one.kind, one.person?.id])).toEqual([['workspace', member.userId]]);
    expect((await show(owner, id)).unchanged).toBe(0);
    await setLevel(member, 'viewer');
  });
});

describe('by itself', () => {
  test('a review is announced, begins when it is due, and reminds before and after the due date', async () => {
    await expectStatus(
      owner.call('PUT', '/settings/access-reviews', { everyMonths: 12, daysToDecide: 30 }),
      200,
    );
    const { nextAt } = await expectStatus(owner.call<{ nextAt: string }>('GET', '/access-reviews'), 200);
    const at = (days: number) => {
      appliance.clock.offsetMs = Date.parse(nextAt) + days * DAY_MS - Date.now();
    };
    const count = async () => (await mails()).length;
    let before = await count();
    const told = async () => {
      const now = await count();
      const difference = now - before;
      before = now;
      return difference;
    };

    at(-20);
    await tidy();
    expect(await told()).toBe(0);
    at(-10);
    await tidy();
    await tidy();
    expect(await told()).toBe(2);
    at(1);
    await tidy();
    expect(await told()).toBe(3);
    await tidy();
    expect(await told()).toBe(0);
    const open = await appliance.deps.db
      .selectFrom('access_reviews')
      .selectAll()
      .where('state', '=', 'open')
      .executeTakeFirstOrThrow();
    expect([open.cause, open.started_by]).toEqual(['schedule', null]);
    at(25);
    await tidy();
    await tidy();
    expect(await told()).toBe(3);
    at(32);
    await tidy();
    await tidy();
    expect(await told()).toBe(3);
  });

  test('months end where months end, and several reminders that were missed are one', () => {
    expect(addMonths(new Date('2027-01-31T10:00:00Z'), 1).toISOString()).toBe('2027-02-28T10:00:00.000Z');
    expect(addMonths(new Date('2028-02-29T10:00:00Z'), 12).toISOString()).toBe('2029-02-28T10:00:00.000Z');
    const due = new Date('2027-06-30T00:00:00Z');
    const day = (text: string) => new Date(`2027-${text}T08:00:00Z`);
    expect(reminderDue(due, day('06-01'), day('06-22'))).toBe(false);
    expect(reminderDue(due, day('06-01'), day('06-23'))).toBe(true);
    expect(reminderDue(due, day('06-23'), day('06-28'))).toBe(false);
    expect(reminderDue(due, day('06-23'), day('08-15'))).toBe(true);
    expect(reminderDue(due, day('08-15'), day('08-17'))).toBe(false);
  });

  test('an unknown review is none', async () => {
    expect((await owner.call('GET', `/access-reviews/${randomUUID()}`)).status).toBe(404);
  });
});
