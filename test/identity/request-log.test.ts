/** The log of requests: what is kept of each and what is not, how it is searched, how it survives a kill, and that it stays small. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { zstdCompress } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openLogFiles, type LogFiles } from '../../server/identity/index.ts';
import { searchLog, writeLine } from '../../server/identity/request-log/search-log.ts';
import { createLog } from '../../server/lib/log.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { startTestAppliance, type TestAppliance, type TestCaller } from '../helpers/appliance.ts';

interface Logged {
  id: string;
  at: string;
  method: string;
  route: string | null;
  status: number;
  code: string | null;
  who: string | null;
  whoKind: string;
  address: string | null;
}
type Page = { items: Logged[]; nextCursor: string | null };

let appliance: TestAppliance;
let owner: TestCaller;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
});
afterAll(() => appliance.close());

const search = async (query: string): Promise<Logged[]> =>
  (await owner.call<Page>('GET', `/requests?${query}`)).body.items;

describe('what is kept of a request', () => {
  test('meets the error that was shown and the audit entry of the act, and the entry is found by it', async () => {
    const wrong = { email: 'ada@example.org', password: 'some other words' };
    const refused = await appliance.stranger.call<{ error: { requestId: string } }>(
      'POST',
      '/session',
      wrong,
    );
    const { requestId } = refused.body.error;

    expect(await search(`id=${requestId}`)).toMatchObject([
      {
        id: requestId,
        method: 'POST',
        route: '/api/v1/session',
        status: 401,
        code: 'unauthenticated',
        who: null,
      },
    ]);
    const audit = await owner.call<{ items: object[] }>('GET', `/audit?requestId=${requestId}`);
    expect(audit.body.items).toMatchObject([{ action: 'identity.sign-in.refused', requestId }]);
  });

  test('is no address with its parts, no query, no header and no body', async () => {
    const secret = 'sesame-7f3a';
    await owner.call('GET', `/runs/${secret}?token=${secret}`);
    await owner.call('GET', `/audit?action=${secret}`, undefined, { headers: { authorization: secret } });
    await appliance.stranger.call('POST', '/session', { email: `${secret}@a.bc`, password: secret });
    await appliance.stranger.call('GET', `/nothing/${secret}`);
    await search('limit=1');

    const folder = dataPaths(appliance.dataDir).requestLog;
    const texts = await Promise.all(
      (await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')),
    );
    expect(texts.join('')).toContain('/api/v1/runs/:id');
    expect(texts.join('')).not.toContain(secret);
    expect((await search('status=404'))[0]).toMatchObject({ code: 'not_found' });
  });

  test('says who: a person by id, the console by its account', async () => {
    const admin = await appliance.addPerson('admin');
    await admin.call('GET', '/rights');
    await appliance.console.call('GET', '/runs');

    expect((await search(`who=${admin.userId}`))[0]).toMatchObject({
      route: '/api/v1/rights',
      whoKind: 'user',
    });
    expect((await search('route=/runs')).some((one) => one.whoKind === 'console' && one.who !== null)).toBe(
      true,
    );
  });

  test('also of what the door refused', async () => {
    await appliance.stranger.call('GET', '/rights', undefined, {
      headers: Object.fromEntries(Array.from({ length: 101 }, (_, index) => [`x-${index}`, '1'])),
    });

    expect((await search('status=400&route=/rights'))[0]).toMatchObject({ code: 'invalid_input', who: null });
  });
});

describe('the search', () => {
  test('refuses a cursor, a status and an id that are none', async () => {
    for (const query of ['cursor=x', 'status=6xx', 'status=.*', 'id=1', 'limit=1000'])
      expect((await owner.call('GET', `/requests?${query}`)).status).toBe(400);
  });

  test('goes page by page through files, filters, and passes over a torn line', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-requests-'));
    const start = Date.parse('2026-03-01T00:00:00Z');
    const line = (index: number) => writeLine(entry(start + index * 60_000, index));
    const lines = Array.from({ length: 30 }, (_, index) => line(index));
    const packed = await promisify(zstdCompress)(`${lines.slice(0, 10).join('\n')}\n`);
    await writeFile(join(folder, `requests-${start}.jsonl.zst`), packed);
    const second = `${lines.slice(10, 20).join('\n')}\n${(lines[20] ?? '').slice(0, 40)}`;
    await writeFile(join(folder, `requests-${start + 600_000}.jsonl`), second);
    const files = await open(folder, start + 1_200_000);
    lines.slice(21).forEach((one) => {
      files.add(one);
    });
    const all: number[] = [];
    let cursor: string | undefined;
    do {
      const page = await searchLog(files, appliance.clock, { limit: 7, ...(cursor && { cursor }) });
      all.push(...page.items.map((one) => one.ms));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);

    expect(all).toEqual([
      ...Array.from({ length: 9 }, (_, i) => 29 - i),
      ...Array.from({ length: 20 }, (_, i) => 19 - i),
    ]);
    const from = new Date(start + 5 * 60_000).toISOString();
    const to = new Date(start + 12 * 60_000).toISOString();
    const part = await searchLog(files, appliance.clock, { from, to, status: '5xx' });
    expect(part.items.map((one) => one.ms)).toEqual([10, 5]);
    await files.close();
    await rm(folder, { recursive: true });
  });
});

describe('the files', () => {
  test('after a kill between packing and removing, no request shows twice', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-requests-'));
    const start = appliance.clock.now().getTime() - 1_000;
    const text = `${writeLine(entry(start, 1))}\n`;
    await writeFile(join(folder, `requests-${start}.jsonl`), text);
    await writeFile(join(folder, `requests-${start}.jsonl.zst`), await promisify(zstdCompress)(text));
    await writeFile(join(folder, `requests-${start}.jsonl.tmp`), 'half');

    const files = await open(folder, start);

    expect((await searchLog(files, appliance.clock, {})).items).toHaveLength(1);
    expect(await readdir(folder)).toEqual([`requests-${start}.jsonl.zst`]);
    await files.close();
    await rm(folder, { recursive: true });
  });

  test('are taken away when they are too old, or together too large; the newest stays', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-requests-'));
    const nowMs = appliance.clock.now().getTime();
    const daysAgo = [50, 40, 20, 10, 5];
    for (const days of daysAgo)
      await writeFile(join(folder, `requests-${nowMs - days * 86_400_000}.jsonl.zst`), Buffer.alloc(1_000));
    const files = await open(folder, nowMs);

    await files.bound({ days: 30, mostBytes: 1e9 });
    // The one of 40 days ago may hold what is younger than 30.
    expect((await files.segments()).length).toBe(4);
    await files.bound({ days: 30, mostBytes: 2_500 });
    expect((await files.segments()).map(({ startMs }) => (nowMs - startMs) / 86_400_000)).toEqual([5, 10]);
    await files.close();
    await rm(folder, { recursive: true });
  });

  test('are begun anew and packed when they are large; 20,000 lines take little', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-requests-'));
    const files = await open(folder, 0, 200_000);
    for (let index = 0; index < 20_000; index += 1) {
      files.add(writeLine(entry(Date.parse('2026-03-01T00:00:00Z'), index)));
      if (index % 2_000 === 1_999) await files.segments();
    }
    await files.segments();

    expect((await files.segments()).length).toBeGreaterThan(3);
    expect((await files.usedBytes()) / 20_000).toBeLessThan(80);
    expect(files.lost()).toBe(0);
    await files.close();
    await rm(folder, { recursive: true });
  });

  test('that cannot be written are counted, nobody waits, and it goes on when they can', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-requests-'));
    const files = await open(folder, 0);
    await rename(folder, `${folder}-gone`);

    files.add('[]');
    await files.segments().catch(() => undefined);

    expect(files.lost()).toBe(1);
    await rename(`${folder}-gone`, folder);
    files.add(writeLine(entry(appliance.clock.now().getTime(), 1)));
    expect((await searchLog(files, appliance.clock, {})).items).toHaveLength(1);
    await files.close();
    await rm(folder, { recursive: true });
  });
});

describe('how long it is kept', () => {
  test('is not set beyond its bounds, and not by who may not', async () => {
    const admin = await appliance.addPerson('admin');
    const before = await owner.call('GET', '/requests/settings');

    for (const body of [{ days: 0, mostMib: 64 }, { days: 30, mostMib: 1 }, { days: 401, mostMib: 64 }, {}])
      expect((await owner.call('PUT', '/requests/settings', body)).status).toBe(400);
    expect((await admin.call('PUT', '/requests/settings', { days: 7, mostMib: 64 })).status).toBe(403);

    expect(before.body).toMatchObject({ days: 30, mostMib: 512, lost: 0 });
    expect((await owner.call('GET', '/requests/settings')).body).toMatchObject({ days: 30, mostMib: 512 });
  });

  test('is set by the owner, with an audit entry that says from what to what', async () => {
    const changed = await owner.call('PUT', '/requests/settings', { days: 7, mostMib: 64 });

    expect(changed.body).toMatchObject({ days: 7, mostMib: 64 });
    const { body } = await owner.call<{ items: object[] }>(
      'GET',
      '/audit?action=identity.request-log.changed',
    );
    expect(body.items).toMatchObject([
      { detail: { before: { days: 30, mostMib: 512 }, after: { days: 7, mostMib: 64 } } },
    ]);
  });
});

async function open(folder: string, nowMs: number, segmentBytes?: number): Promise<LogFiles> {
  const clock = nowMs === 0 ? appliance.clock : { ...appliance.clock, now: () => new Date(nowMs) };
  const limits = { days: 400, mostBytes: 1e9 };
  return openLogFiles(folder, { clock, log: createLog('silent', 'test') }, limits, segmentBytes);
}

/** @param ms tells one from another. */
function entry(atMs: number, ms: number) {
  return {
    ...{ id: randomUUID(), at: new Date(atMs).toISOString(), method: 'GET', route: '/api/v1/nodes/:id' },
    ...{ status: ms % 5 === 0 ? 503 : 200, code: null, ms, receivedBytes: 400, sentBytes: 900 },
    ...{ address: '192.0.2.7', who: 'f5d3f5a0-0000-4000-8000-000000000001', whoKind: 'user', cutOff: false },
  };
}
