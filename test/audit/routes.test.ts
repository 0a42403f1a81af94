import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createLogVerifier, recordAudit, type AuditEntry, type LogState } from '../../server/audit/index.ts';
import { verifyEntryProof } from '../../server/audit/entry-proof.ts';
import { trustInRoot } from '../../server/keys/index.ts';
import { writeTransaction } from '../../server/lib/db.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import {
  expectStatus,
  proveTestKit,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
  type TestKit,
} from '../helpers/appliance.ts';
import { writeEntries, writeEntry } from './log-place.ts';

let appliance: TestAppliance;
let owner: TestCaller;
let auditor: TestCaller & { userId: string };
let kit: TestKit;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  kit = await proveTestKit(owner);
  auditor = await appliance.addPerson('auditor');
});
afterAll(() => appliance.close());

const trust = () => trustInRoot(Buffer.from(kit.trustRoot, 'base64'), kit.repositoryId);

async function verifyText(text: string) {
  const verifier = createLogVerifier({ trust: trust() });
  for (const line of text.trimEnd().split('\n')) verifier.line(Buffer.from(line));
  return verifier.end();
}

describe('the export', () => {
  test('ends at a checkpoint of now, verifies, and is itself entered', async () => {
    await writeEntries(appliance.deps.db, 300);

    const reply = await auditor.call<string>('GET', '/audit/export');

    expect(reply.status).toBe(200);
    expect(reply.headers['content-disposition']).toMatch(
      /^attachment; filename="holdfast-audit-[\d-]+\.jsonl"$/,
    );
    const report = await verifyText(reply.body);
    expect(report).toMatchObject({ ok: true, uncovered: 0 });
    expect(reply.body).toContain('"action":"audit.log.exported"');
  });

  test('from a day on begins at the last checkpoint before it', async () => {
    const since = appliance.clock.now().toISOString();
    await writeEntries(appliance.deps.db, 10);

    const reply = await auditor.call<string>('GET', `/audit/export?since=${since}`);

    const report = await verifyText(reply.body);
    expect(report.ok).toBe(true);
    expect(report.from).toBeGreaterThan(300);
    expect(report.entries).toBeLessThan(20);
  });

  test('with a time that is none is refused', async () => {
    expect((await auditor.call('GET', '/audit/export?since=yesterday')).status).toBe(400);
  });
});

describe('the proof of one entry', () => {
  test('is made for one that was written a moment ago, and verifies by itself', async () => {
    const id = await writeEntry(appliance.deps.db, { action: 'tests.proof.wanted' });

    const reply = await auditor.call<string>('GET', `/audit/entries/${id}/proof`);

    expect(reply.headers['content-disposition']).toBe(`attachment; filename="audit-${id}.tlog-proof"`);
    expect(verifyEntryProof(reply.body, trust())).toMatchObject({
      entry: { id, action: 'tests.proof.wanted' },
    });
    expect(() => verifyEntryProof(reply.body.replace('index ', 'index 1'), trust())).toThrow(/does not hold/);
    expect(() => verifyEntryProof(reply.body, trustInRoot(Buffer.alloc(32, 1), kit.repositoryId))).toThrow(
      /not signed/,
    );
  });

  test('of an entry that is not there is not found', async () => {
    const reply = await auditor.call('GET', '/audit/entries/11111111-2222-4333-8444-555555555555/proof');

    expect(reply.status).toBe(404);
  });
});

describe('the state of the log', () => {
  test('says how many entries there are, and what was signed', async () => {
    await auditor.call('GET', '/audit/export');

    const state = await expectStatus(auditor.call<LogState>('GET', '/audit/log'), 200);

    expect(state).toMatchObject({
      pending: 0,
      problem: null,
      anchors: [],
      verification: null,
      verifyingRunId: null,
    });
    expect(state.checkpoint).toMatchObject({
      size: state.size,
      verifierKey: expect.stringContaining('+') as string,
    });
  });
});

describe('searching', () => {
  type Page = { items: AuditEntry[]; nextCursor: string | null };
  const search = async (query: string) =>
    (await expectStatus(auditor.call<Page>('GET', `/audit?${query}`), 200)).items;
  const person = '99999999-2222-4333-8444-555555555555';

  beforeAll(async () => {
    const { db } = appliance.deps;
    const write = (actor: Parameters<typeof recordAudit>[2], record: Parameters<typeof recordAudit>[3]) =>
      writeTransaction(db, (tx) => recordAudit(tx, appliance.clock, actor, record));
    await write(
      { kind: 'user', id: person, address: '192.0.2.7' },
      { action: 'search.door.opened', objectType: 'door', objectId: 'front' },
    );
    await write(
      { kind: 'user', id: person, address: '2001:db8::7' },
      { action: 'search.door.closed', objectType: 'door', objectId: 'back', result: 'failed' },
    );
    await write(
      { kind: 'console', label: 'root' },
      { action: 'search.window.opened', objectType: 'window', result: 'refused' },
    );
    await write({ kind: 'system', label: 'scheduler' }, { action: 'search.light.lit', objectType: 'light' });
  });

  test.each([
    ['action=search.door.opened', ['search.door.opened']],
    ['action=search.door.', ['search.door.closed', 'search.door.opened']],
    ['action=OPENED&from=2020-01-01T00:00:00Z', ['search.window.opened', 'search.door.opened']],
    ['action=search.&result=done', ['search.light.lit', 'search.door.opened']],
    ['action=search.&result=refused', ['search.window.opened']],
    [`actorId=${person}`, ['search.door.closed', 'search.door.opened']],
    ['action=search.&actorKind=user', ['search.door.closed', 'search.door.opened']],
    ['actorKind=console', ['search.window.opened']],
    ['actorLabel=scheduler', ['search.light.lit']],
    ['objectId=front', ['search.door.opened']],
    ['objectType=door', ['search.door.closed', 'search.door.opened']],
    ['address=192.0.2.7', ['search.door.opened']],
    ['address=2001:0db8::0007', ['search.door.closed']],
    ['action=search.&from=2030-01-01T00:00:00Z', []],
    ['action=search.&to=2020-01-01T00:00:00Z', []],
    ['action=nothing.like.this', []],
  ])('%s finds %j', async (query, actions) => {
    expect((await search(query)).map(({ action }) => action)).toEqual(actions);
  });

  test('pages of any filter go from the newest to the oldest without a gap or a double', async () => {
    for (const filter of ['action=tests.', 'action=e', '']) {
      const seen: string[] = [];
      let cursor: string | null = '';
      do {
        const query = `${filter}&limit=37${cursor === '' ? '' : `&cursor=${cursor}`}`;
        const page: Page = await expectStatus(auditor.call<Page>('GET', `/audit?${query}`), 200);
        seen.push(...page.items.map(({ number }) => number));
        cursor = page.nextCursor;
      } while (cursor !== null);
      expect(new Set(seen).size).toBe(seen.length);
      expect(seen.length).toBeGreaterThan(300);
    }
  });

  test.each(['address=home', 'from=yesterday', 'result=perhaps', 'cursor=zzz', 'limit=1000', 'actorId=me'])(
    '%s is refused',
    async (query) => {
      expect((await auditor.call('GET', `/audit?${query}`)).status).toBe(400);
    },
  );

  test('pages leave no entry out whose instant is finer than ours: a superuser put them in', async () => {
    await withClient(appliance.database.adminAddress, 'superuser', (client) =>
      client.query(`insert into audit_entries (id, at, actor_kind, action, object_type, result, salt)
        select gen_random_uuid(), '2026-01-02 03:04:05.000999Z', 'system', 'tests.fine.done', 'fine', 'done', decode(repeat('ab', 16), 'hex')
        from generate_series(1, 25)`),
    );

    const seen = new Set<string>();
    let cursor: string | null = '';
    do {
      const query = `objectType=fine&limit=10${cursor === '' ? '' : `&cursor=${cursor}`}`;
      const page: Page = await expectStatus(auditor.call<Page>('GET', `/audit?${query}`), 200);
      for (const { number } of page.items) seen.add(number);
      cursor = page.nextCursor;
    } while (cursor !== null);

    expect(seen.size).toBe(25);
  });

  test('every action that was ever written is offered', async () => {
    const { items } = await expectStatus(auditor.call<{ items: string[] }>('GET', '/audit/actions'), 200);

    expect(items).toEqual([...items].sort());
    expect(items).toEqual(expect.arrayContaining(['search.door.opened', 'identity.session.started']));
  });
});

describe('filters that people keep', () => {
  type Saved = { items: { id: string; name: string; query: string }[] };
  const mine = async (caller: TestCaller) =>
    (await expectStatus(caller.call<Saved>('GET', '/audit/filters'), 200)).items;

  test('belong to whoever keeps them, are replaced by name, and can be dropped', async () => {
    const filter = { name: 'Refused', query: 'result=refused&from=2026-01-01' };
    await expectStatus(auditor.call('POST', '/audit/filters', filter), 201);
    await expectStatus(auditor.call('POST', '/audit/filters', { ...filter, query: 'result=failed' }), 201);

    const [kept, ...more] = await mine(auditor);
    expect(kept).toMatchObject({ name: 'Refused', query: 'result=failed' });
    expect(more).toEqual([]);
    expect(await mine(owner)).toEqual([]);
    expect((await owner.call('DELETE', `/audit/filters/${kept?.id}`)).status).toBe(404);
    await expectStatus(auditor.call('DELETE', `/audit/filters/${kept?.id}`), 204);
    expect(await mine(auditor)).toEqual([]);
  });

  test.each([
    { name: '', query: '' },
    { name: '   ', query: '' },
    { name: 'x'.repeat(81), query: '' },
    { name: 'a\nb', query: '' },
    { name: 'a', query: 'x'.repeat(2001) },
    { name: 'a', query: '"><script>' },
    { name: 'a' },
  ])('%j is refused, and nothing is kept', async (filter) => {
    expect((await auditor.call('POST', '/audit/filters', filter)).status).toBe(400);
    expect(await mine(auditor)).toEqual([]);
  });

  test('are not kept without end', async () => {
    for (let at = 0; at < 50; at += 1)
      await expectStatus(auditor.call('POST', '/audit/filters', { name: `f${at}`, query: '' }), 201);

    expect((await auditor.call('POST', '/audit/filters', { name: 'one more', query: '' })).status).toBe(409);
    await expectStatus(auditor.call('POST', '/audit/filters', { name: 'f7', query: 'a=b' }), 201);
  });

  test('are nothing for the console', async () => {
    expect((await appliance.console.call('GET', '/audit/filters')).status).toBe(403);
  });
});
