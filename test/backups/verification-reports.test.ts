/** What a verification leaves as evidence: signed, kept, on the target, printed, and checked by whoever has nothing but the trust root. */
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { extractText, getDocumentProxy } from 'unpdf';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { nameFewer, type Reading } from '../../server/backups/verification-reports/reading.ts';
import {
  readVerificationReport,
  verifyVerificationReport,
} from '../../server/backups/verification-reports/report.ts';
import type { VerificationReportPage } from '../../server/backups/verification-reports/schema.ts';
import { createSigningKey } from '../../server/keys/index.ts';
import { takeAttachedReport } from '../../server/lib/report-pages.ts';
import { startDueRuns } from '../../server/lib/schedules.ts';
import { SOFTWARE_VERSION } from '../../server/lib/version.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { addSecondTarget, catchUp, type SecondTarget } from '../helpers/second-target.ts';
import { runHoldfast } from '../helpers/served-appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const DAY_MS = 24 * 3_600_000;
let appliance: StockedAppliance;
let second: SecondTarget;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-test-verification-'));
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  second = await addSecondTarget(appliance, 'second');
  expect(await catchUp(appliance)).toMatchObject({ state: 'succeeded' });
});
afterAll(async () => {
  await appliance.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  appliance.clock.offsetMs = 0;
});

const trustRoot = () => ({ trustRoot: Buffer.from(appliance.kit.trustRoot, 'base64') });

async function verify(targetId: string) {
  await expectStatus(appliance.owner.call('POST', `/targets/${targetId}/verify`), 202);
  return appliance.performRun();
}

/** Now: a session does not last for the days that went by. */
async function atPresent<T>(ask: () => Promise<T>): Promise<T> {
  const { offsetMs } = appliance.clock;
  appliance.clock.offsetMs = 0;
  try {
    return await ask();
  } finally {
    appliance.clock.offsetMs = offsetMs;
  }
}

async function listed(query: string) {
  const ask = () => appliance.owner.call<VerificationReportPage>('GET', `/verification-reports?${query}`);
  return atPresent(() => expectStatus(ask(), 200));
}

async function newest(query: string) {
  const [item] = (await listed(query)).items;
  if (item === undefined) throw new Error('no report');
  const signed = await download(item.id, 'report');
  return { item, signed, report: await verifyVerificationReport(signed, trustRoot()) };
}

async function download(id: string, what: 'report' | 'report.pdf'): Promise<Buffer> {
  const url = `/api/v1/verification-reports/${id}/${what}`;
  const headers = { cookie: appliance.owner.cookie };
  const reply = await atPresent(async () => appliance.app.inject({ method: 'GET', url, headers }));
  expect(reply.statusCode).toBe(200);
  return reply.rawPayload;
}

function packsBelow(path: string): string[] {
  return readdirSync(join(path, 'packs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.age'))
    .sort()
    .map((name) => join('packs', name));
}

function damage(path: string, name: string): Buffer {
  const file = join(path, name);
  const whole = readFileSync(file);
  chmodSync(file, 0o600);
  writeFileSync(file, randomBytes(whole.length));
  return whole;
}

describe('a whole verification of a sound target', () => {
  test('leaves a signed report of what was read, kept, in the audit log and on the target', async () => {
    const run = await verify(appliance.targetId);
    expect(run).toMatchObject({ state: 'succeeded' });

    const { item, signed, report } = await newest(`runId=${run.id}`);

    const packs = packsBelow(appliance.targetPath);
    const bytes = packs.reduce((sum, name) => sum + readFileSync(join(appliance.targetPath, name)).length, 0);
    expect(item).toMatchObject({
      ...{ targetId: appliance.targetId, targetName: 'copy', scope: 'whole', state: 'whole' },
      ...{ depth: 'content', parts: 1, packs: packs.length, bytes, snapshots: 1 },
      ...{ found: 0, repaired: 0, left: 0 },
      reportSha256: createHash('sha256').update(signed).digest('hex'),
    });
    expect(report).toMatchObject({
      ...{ id: item.id, scope: 'whole', state: 'whole', software: SOFTWARE_VERSION },
      repositoryId: appliance.kit.repositoryId,
      target: { id: appliance.targetId, name: 'copy', kind: 'directory', region: 'eu-north' },
      readings: [{ part: 1, of: 1, runId: run.id, depth: 'content', storedPacks: packs.length }],
    });
    expect(report.number).toBe(String(report.readings[0]?.head?.number));
    const entry = await appliance.deps.db
      .selectFrom('audit_entries')
      .select(['object_id', 'result', 'detail'])
      .where('action', '=', 'backups.verification.reported')
      .executeTakeFirstOrThrow();
    expect(entry).toMatchObject({
      ...{ object_id: item.id, result: 'done' },
      detail: { reportSha256: item.reportSha256, targetId: appliance.targetId },
    });
    const there = readdirSync(join(appliance.targetPath, 'reports'));
    expect(there.filter((name) => name.startsWith(item.id))).toHaveLength(1);
  });

  test('leaves a target that the next verification finds sound, with the report on it', async () => {
    expect(await verify(appliance.targetId)).toMatchObject({ state: 'succeeded', result: { problems: 0 } });
  });

  test('an edited report is refused, whatever was edited, and so is one that another root signed', async () => {
    const { signed } = await newest(`targetId=${appliance.targetId}`);
    const text = signed.toString();
    for (const [from, to] of [
      ['"state":"whole"', '"state":"damaged"'],
      ['"scope":"whole"', '"scope":"cycle"'],
      ['"packs":', '"packs":1'],
      ['"name":"copy"', '"name":"elsewhere"'],
      ['"leftCount":0', '"leftCount":1'],
    ] as const) {
      expect(text).toContain(from);
      await expect(
        verifyVerificationReport(Buffer.from(text.replace(from, to)), trustRoot()),
      ).rejects.toMatchObject({ code: 'integrity_failure' });
    }
    const other = { trustRoot: createSigningKey().publicKey };
    await expect(verifyVerificationReport(signed, other)).rejects.toMatchObject({
      code: 'integrity_failure',
    });
  });

  test('is printed, with the signed report attached, and holdfast verify-report tells altered pages', async () => {
    const { item, signed } = await newest(`targetId=${appliance.targetId}`);
    const pdf = await download(item.id, 'report.pdf');
    const { text } = await extractText(await getDocumentProxy(new Uint8Array(pdf)), { mergePages: true });
    const root = ['--trust-root', appliance.kit.trustRoot];
    const [json, pages] = [join(folder, 'report.jsonl'), join(folder, 'report.pdf')];
    writeFileSync(json, signed);
    writeFileSync(pages, pdf);

    expect(takeAttachedReport(pdf)).toEqual(signed);
    for (const words of ['Whole', 'Nothing was found damaged', item.id]) expect(text).toContain(words);
    expect(await runHoldfast(['verify-report', json, ...root])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/verification .*\nwhole, ended .* of the target copy/) as string,
    });
    const printed = await runHoldfast(['verify-report', pages, '--json', ...root]);
    expect(printed.exitCode).toBe(0);
    expect(JSON.parse(printed.stdout)).toMatchObject({ valid: true, pages: 'as-signed' });

    writeFileSync(json, signed.toString().replace('"state":"whole"', '"state":"damaged"'));
    expect((await runHoldfast(['verify-report', json, ...root])).exitCode).toBe(1);
    writeFileSync(pages, pdf.toString('latin1').replace('/Lang (en)', '/Lang (de)'), 'latin1');
    expect(await runHoldfast(['verify-report', pages, ...root])).toMatchObject({
      exitCode: 3,
      stdout: expect.stringContaining('ALTERED') as string,
    });
  });
});

describe('damage', () => {
  test('that was repaired is named with the target that it was repaired from', async () => {
    const [name = ''] = packsBelow(appliance.targetPath);
    damage(appliance.targetPath, name);

    const run = await verify(appliance.targetId);

    const { item, report } = await newest(`runId=${run.id}`);
    expect(item).toMatchObject({ state: 'repaired', repaired: 1, left: 0 });
    expect(report.readings).toMatchObject([
      { repaired: [{ object: name, from: { id: second.id, name: 'second' } }], left: [] },
    ]);
    expect(report.readings[0]?.found.map(({ object }) => object)).toContain(name);
    expect(item.found).toBe(report.readings[0]?.foundCount);
  });

  test('that is left is what the report says, and the audit entry of it', async () => {
    const [name = ''] = packsBelow(appliance.targetPath);
    const whole = damage(appliance.targetPath, name);
    damage(second.path, name);

    const run = await verify(appliance.targetId);

    const { item, report } = await newest(`runId=${run.id}`);
    expect(item).toMatchObject({ state: 'damaged', repaired: 0 });
    expect(report.readings[0]?.left.map(({ object }) => object)).toContain(name);
    for (const path of [appliance.targetPath, second.path]) writeFileSync(join(path, name), whole);
  });

  test('of a target that could not be read at all leaves no report: nothing was found', async () => {
    const { total } = await listed('');
    await second.away();
    const run = await verify(second.id);
    await second.back();

    expect(run.state).toBe('failed');
    expect(await listed('')).toMatchObject({ total });
  });
});

describe('a cycle', () => {
  const put = (body: object) =>
    expectStatus(appliance.owner.call('PUT', '/schedules/verify', { cron: '0 3 * * *', ...body }), 200);
  async function dayGoesBy() {
    appliance.clock.offsetMs += DAY_MS;
    expect(await startDueRuns(appliance.deps)).toContain('verify');
    return appliance.performRun();
  }
  const only = () => `targetId=${appliance.targetId}`;

  beforeEach(async () => {
    await appliance.deps.db.deleteFrom('target_read_backs').execute();
    await put({ enabled: false });
    await put({ enabled: true, days: 3 });
  });

  test('that is closed leaves one report of all its parts, each as it was read', async () => {
    const { total } = await listed(only());
    await dayGoesBy();
    await dayGoesBy();
    expect(await listed(only())).toMatchObject({ total });

    await dayGoesBy();

    expect(await listed(only())).toMatchObject({ total: total + 1 });
    const { item, report } = await newest(only());
    const packs = packsBelow(appliance.targetPath).length;
    expect(item).toMatchObject({ scope: 'cycle', state: 'whole', parts: 3, packs });
    expect(report.readings.map(({ part, of }) => [part, of])).toEqual([
      [1, 3],
      [2, 3],
      [3, 3],
    ]);
    expect(new Set(report.readings.map(({ runId }) => runId)).size).toBe(3);
    expect(report.startedAt).toBe(report.readings[0]?.startedAt);
    expect(
      await appliance.deps.db
        .selectFrom('target_readings')
        .selectAll()
        .where('target_id', '=', appliance.targetId)
        .execute(),
    ).toEqual([]);
  });

  test('that found damage which was mended later was not whole all the time', async () => {
    const [name = ''] = packsBelow(appliance.targetPath);
    const hash = Number.parseInt(name.split('/').at(-1)?.slice(0, 8) ?? '', 16);
    // Not of the last part: then nothing could be mended before its end.
    const days = [3, 4, 5, 6].find((of) => hash % of < of - 1) ?? 7;
    await put({ enabled: true, days });
    const whole = damage(appliance.targetPath, name);
    const there = damage(second.path, name);
    for (let part = 0; part < days; part++) {
      const run = await dayGoesBy();
      if (part !== hash % days) continue;
      expect(run).toMatchObject({ state: 'failed' });
      writeFileSync(join(appliance.targetPath, name), whole);
      writeFileSync(join(second.path, name), there);
    }

    const { item, report } = await newest(only());
    expect(item).toMatchObject({ scope: 'cycle', state: 'repaired', repaired: 0, left: 0 });
    expect(report.readings[hash % days]?.left.map(({ object }) => object)).toContain(name);
  });

  test('of which a part was not kept leaves no report, which would speak for that part too; the next one does', async () => {
    const { total } = await listed(only());
    await dayGoesBy();
    await dayGoesBy();
    await appliance.deps.db.deleteFrom('target_readings').where('part', '=', 1).execute();
    await dayGoesBy();

    expect(await listed(only())).toMatchObject({ total });
    for (let part = 0; part < 3; part++) await dayGoesBy();
    expect(await listed(only())).toMatchObject({ total: total + 1 });
    expect((await newest(only())).report.readings.map(({ part }) => part)).toEqual([1, 2, 3]);
  });
});

test('pages of the list follow each other, and a mark that no page handed out is refused', async () => {
  const { total } = await listed('');
  const first = await listed('limit=2');
  const next = await listed(`limit=200&cursor=${first.nextCursor ?? ''}`);

  expect(first.items).toHaveLength(2);
  expect(new Set([...first.items, ...next.items].map(({ id }) => id)).size).toBe(total);
  expect(next.nextCursor).toBeNull();
  expect((await appliance.owner.call('GET', '/verification-reports?cursor=nothing')).status).toBe(400);
  const none = await appliance.owner.call(
    'GET',
    `/verification-reports/11111111-2222-4333-8444-555555555555/report`,
  );
  expect(none.status).toBe(404);
});

test('a year of damage stays within the size of a report, the newest named first', () => {
  const many = Array.from({ length: 100 }, (_, at) => ({
    object: `packs/${'ab'.repeat(32)}${String(at)}`,
    message: 'x'.repeat(300),
  }));
  const reading = (part: number): Reading => ({
    ...{ part, of: 365, runId: 'r', software: '0', startedAt: 's', finishedAt: 'f', head: null },
    ...{ snapshots: 1, closedSnapshots: 0, packs: 1, bytes: 1, unindexedPacks: 0 },
    ...{ storedPacks: 1, storedBytes: 1, depth: 'content', repaired: [], repairedCount: 0 },
    ...{ found: many, foundCount: 900, left: many, leftCount: 900, foundWhole: [], foundWholeCount: 0 },
  });

  const named = nameFewer(Array.from({ length: 365 }, (_, at) => reading(at + 1)));

  expect(JSON.stringify(named).length).toBeLessThan(1024 * 1024);
  expect(named.at(-1)).toMatchObject({ left: many, found: many, foundCount: 900 });
  expect(named[0]).toMatchObject({ left: [], foundCount: 900, leftCount: 900 });
  expect(() => readVerificationReport(Buffer.from('{"kind":"holdfast-verification-report"}\n'))).toThrow(
    'not a report of a verification',
  );
});
