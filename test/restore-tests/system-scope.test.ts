/** Restore tests of the scope `system`: what a machine needs besides its data, told in the signed report, and no proof of the data. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { readSystemContent } from '../../server/appliance/index.ts';
import { chooseCopies } from '../../server/restore-tests/choose-copy.ts';
import { countCopies } from '../../server/restore-tests/copy-queries.ts';
import { verifyReport } from '../../server/restore-tests/index.ts';
import type { Preflight, RestoreTest } from '../../server/restore-tests/schema.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const IMAGE = randomBytes(200_000);
const IMAGE_SHA256 = createHash('sha256').update(IMAGE).digest('hex');
const SLOT = { booted: true, primary: true, good: true, version: null, installedAt: null };
const SYSTEM = {
  format: 1,
  image: { product: 'holdfast', version: '1.2.3' },
  imageFile: { name: 'holdfast-1.2.3.raucb', sha256: IMAGE_SHA256 },
  slots: [
    { name: 'A', ...SLOT },
    { name: 'B', ...SLOT, booted: false, primary: false },
  ],
};
const FILES: Record<string, Buffer> = {
  'system.json': Buffer.from(JSON.stringify(SYSTEM)),
  'settings.json': Buffer.from(
    JSON.stringify({ network: { hostName: 'vault', nameServers: ['192.0.2.1'] } }),
  ),
  'packages.txt': Buffer.from('bash 5.2.37-2 amd64\nlibc6 2.41-12 amd64\n'),
  'luks-header.img': Buffer.concat([Buffer.from('4c554b53babe0002', 'hex'), Buffer.alloc(4096)]),
  'image/holdfast-1.2.3.raucb': IMAGE,
  'image/holdfast-1.2.3.raucb.sha256': Buffer.from(`${IMAGE_SHA256}\n`),
};

let appliance: StockedAppliance;
let systemDir: string;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  systemDir = join(appliance.targetPath, '..', 'system');
});
afterAll(() => appliance.close());

/** As hostd leaves it on the machine image. */
async function gather(files: Record<string, Buffer>): Promise<void> {
  await rm(systemDir, { recursive: true, force: true });
  await mkdir(join(systemDir, 'image'), { recursive: true });
  for (const [path, content] of Object.entries(files)) await writeFile(join(systemDir, path), content);
}

async function begin(snapshotId: string, change: object = {}) {
  const copy = { choice: 'certain', snapshotId, targetId: appliance.targetId };
  return appliance.owner.call<RestoreTest>('POST', '/restore-tests', {
    ...{ ...copy, mode: 'system', keySource: 'test-identity' },
    ...change,
  });
}

async function testSystem(snapshotId: string) {
  const { id } = await expectStatus(begin(snapshotId), 202);
  const run = await appliance.performRun();
  const ended = await expectStatus(appliance.owner.call<RestoreTest>('GET', `/restore-tests/${id}`), 200);
  const signed = await appliance.app.inject({
    method: 'GET',
    url: `/api/v1/restore-tests/${id}/report`,
    headers: { cookie: appliance.owner.cookie },
  });
  const trustRoot = Buffer.from(appliance.kit.trustRoot, 'base64');
  const report = await verifyReport(signed.rawPayload, { trustRoot });
  const check = (name: string) => report.checks.find((one) => one.id === name);
  return { run, ended, report, check };
}

describe('of an embedded install', () => {
  let snapshotId: string;
  beforeAll(async () => {
    snapshotId = await appliance.takeSnapshot();
  });

  test('checks the facts of the appliance, and its signed report says that no machine is there', async () => {
    const { run, ended, report, check } = await testSystem(snapshotId);

    expect(run, run.lines.join('\n')).toMatchObject({ state: 'succeeded' });
    expect(ended).toMatchObject({ state: 'checked', grade: null, mode: 'system', rtoMs: null, rpoMs: null });
    expect(report).toMatchObject({ state: 'passed', grade: null, mode: 'system' });
    expect(report.checks.map(({ id }) => id)).toEqual([
      ...['repository', 'snapshot', 'freshness', 'keyring', 'facts', 'appliance-content', 'version'],
      ...['system-files', 'system-content', 'residency'],
    ]);
    expect(check('appliance-content')?.found).toMatch(/^\d+ workspaces, \d+ folders, \d+ files/);
    expect(check('version')?.found).toContain('It is of this version');
    for (const name of ['system-files', 'system-content'])
      expect(check(name)).toMatchObject({
        state: 'passed',
        found: expect.stringContaining('not of a machine image') as string,
      });
  });

  test('proves nothing of the data: neither the snapshot nor the schedule counts it', async () => {
    const snapshot = await expectStatus(
      appliance.owner.call<{ proof: unknown }>('GET', `/snapshots/${snapshotId}`),
      200,
    );
    const page = await expectStatus(
      appliance.owner.call<{ schedules: { lastPassedAt: string | null }[] }>('GET', '/restore-tests'),
      200,
    );

    expect(snapshot.proof ?? null).toBeNull();
    expect(page.schedules.every(({ lastPassedAt }) => lastPassedAt === null)).toBe(true);
  });

  test('needs no room, and says before it starts that only the appliance is there', async () => {
    const query = `choice=certain&snapshotId=${snapshotId}&targetId=${appliance.targetId}&mode=system`;
    const planned = await expectStatus(
      appliance.owner.call<Preflight>('GET', `/restore-tests/preflight?${query}`),
      200,
    );

    expect(planned).toMatchObject({ ok: true, needsBytes: 0 });
    expect(planned.checks.find(({ name }) => name === 'system')).toMatchObject({ state: 'warn' });
  });

  test('is not offered for a moment, which is of the data', async () => {
    const body = { targetId: appliance.targetId, time: '2030-01-01T00:00:00Z', mode: 'system' };
    expect((await appliance.owner.call('POST', '/restore-tests/point-in-time', body)).status).toBe(400);
  });

  test('fails on our own machine, where facts should have been gathered', async () => {
    Object.assign(appliance.deps, { systemDir });
    const { ended, check } = await testSystem(snapshotId);
    Object.assign(appliance.deps, { systemDir: undefined });

    expect(ended.state).toBe('failed');
    expect(check('system-files')?.found).toContain('had not gathered its facts');
  });
});

describe('of a machine image', () => {
  async function takeWith(files: Record<string, Buffer>): Promise<string> {
    await gather(files);
    Object.assign(appliance.deps, { systemDir });
    try {
      return await appliance.takeSnapshot();
    } finally {
      Object.assign(appliance.deps, { systemDir: undefined });
    }
  }

  test('reads every file back, each configuration as the machine does, and says what is not there', async () => {
    const { run, ended, check } = await testSystem(await takeWith(FILES));

    expect(run, run.lines.join('\n')).toMatchObject({ state: 'succeeded' });
    expect(ended.state).toBe('checked');
    const bytes = Object.values(FILES).reduce((sum, one) => sum + one.length, 0);
    expect(check('system-files')?.found).toBe(`6 files, ${String(bytes)} bytes read and hashed; problems: 0`);
    const found = check('system-content')?.found ?? '';
    for (const words of [
      ...['image 1.2.3, 2 slots', 'settings of the network', 'LUKS 2', '2 packages', 'the image whole'],
      ...['not there: by design: keys and passwords', 'SBOM'],
    ])
      expect(found).toContain(words);
  });

  test('fails by an image that is not the one that the machine names, and by settings it would not take', async () => {
    const settings = { network: { nameServers: ['not an address'] } };
    const { ended, check } = await testSystem(
      await takeWith({
        ...FILES,
        'settings.json': Buffer.from(JSON.stringify(settings)),
        'image/holdfast-1.2.3.raucb': randomBytes(1000),
      }),
    );

    expect(ended.state).toBe('failed');
    expect(check('system-files')?.state).toBe('passed');
    const found = check('system-content')?.found ?? '';
    expect(found).toContain('wrong: settings.json: The name server not an address is no IP address');
    expect(found).toContain('image/holdfast-1.2.3.raucb: other bytes than it names');
  });
});

describe('a copy that keeps its section of the machine no more', () => {
  test('is neither the latest nor drawn for this scope, and is for the others', async () => {
    const { deps, targetId } = appliance;
    const newest = await appliance.takeSnapshot();
    const expired = [{ sections: ['system'], at: '2026-01-01T00:00:00Z', because: 'kept for a day' }];
    await deps.db
      .updateTable('snapshot_targets')
      .set({ expired: JSON.stringify(expired) })
      .where('snapshot_id', '=', newest)
      .execute();
    const all = await countCopies(deps.db);

    const [latest] = await chooseCopies(deps.db, { choice: 'latest', targetId, mode: 'system' });
    const [drawn] = await chooseCopies(deps.db, { choice: 'random', mode: 'system' });
    const [every] = await chooseCopies(deps.db, { choice: 'latest', everyTarget: true, mode: 'system' });
    const [full] = await chooseCopies(deps.db, { choice: 'latest', mode: 'full' });

    expect(latest).toMatchObject({ newest: false });
    expect(latest?.snapshotId).not.toBe(newest);
    expect(every).toMatchObject({ snapshotId: latest?.snapshotId, newest: false });
    expect(drawn?.drawnFrom).toBe(all - 1);
    expect(full).toMatchObject({ snapshotId: newest, newest: true });
    const { id } = await expectStatus(
      begin('', { choice: 'latest', snapshotId: undefined, targetId: undefined }),
      202,
    );
    await appliance.performRun();
    const ended = await expectStatus(appliance.owner.call<RestoreTest>('GET', `/restore-tests/${id}`), 200);
    expect(ended).toMatchObject({ snapshotId: latest?.snapshotId, newest: false });
  });
});

describe('what lies in the section of a machine', () => {
  const read = (change: Record<string, Buffer | undefined>) => {
    const files = Object.entries({ ...FILES, ...change }).filter(([, content]) => content !== undefined);
    return readSystemContent(new Map(files as [string, Buffer][]));
  };

  test('is told as missing, not as wrong, where it is optional or gone', () => {
    const { missing, wrong } = read({ 'settings.json': undefined, 'luks-header.img': undefined });

    expect(wrong).toEqual([]);
    expect(missing.join()).toContain('header of the encrypted data volume');
    expect(missing.join()).toContain('settings of the network');
  });

  test.each([
    ['system.json', Buffer.from('{"format":2}')],
    ['system.json', Buffer.from('no json')],
    ['settings.json', Buffer.from('{"network":{"hostName":"-"}}')],
    ['luks-header.img', Buffer.alloc(4096)],
    ['packages.txt', Buffer.from('<html>')],
    ['image/holdfast-1.2.3.raucb.sha256', Buffer.from('0')],
  ])('is wrong in %s when it is not what the machine reads', (path, content) => {
    const { wrong } = read({ [path]: content });

    expect(wrong).toHaveLength(1);
    expect(wrong[0]).toContain(path);
  });
});
