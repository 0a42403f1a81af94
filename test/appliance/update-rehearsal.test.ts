/**
 * An update from request to the restart, on a real appliance with a real snapshot: the new version is another checkout of this
 * project with one migration more, run by its own program on the restored copy; the bundle is signed for real. Only the disk
 * slots are played, by a machine that keeps them in a file.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { advanceUpdate } from '../../server/appliance/index.ts';
import {
  buildHostApp,
  buildRehearsalApp,
  rehearsalSocket,
  updateRoutes,
} from '../../server/appliance/host/index.ts';
import { hostPlaces } from '../../server/appliance/host/host-places.ts';
import { openJournal } from '../../server/appliance/host/journal.ts';
import { programCall } from '../../server/appliance/host/updates/rehearsal.ts';
import type { CheckedBundle, Update, UpdateOverview } from '../../server/appliance/host/updates/schema.ts';
import { openUpdates, type Updates } from '../../server/appliance/host/updates/updates.ts';
import { listMigrations } from '../../server/lib/migrate.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import { shortPath } from '../../server/lib/sockets.ts';
import { runProcess } from '../../server/lib/spawn.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';
import { startBundleMaker, type BundleMaker } from './host/bundle-maker.ts';
import { FRESH, readMemory, slotEngine, writeMemory } from './host/machine-with-slots.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const WORKS = `export const worksWith = '0007-create-restore-tests';\n`;

let appliance: StockedAppliance;
let maker: BundleMaker;
let machine: string;
let checkout: string;
let updates: Updates;
let bundle: Buffer;
const closers: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  [appliance, maker] = await Promise.all([startStockedAppliance(), startBundleMaker()]);
  await stock(appliance);
  await appliance.takeSnapshot();
  checkout = await mkdtemp(join(ROOT, '.cache', 'new-version-'));
  await cp(join(ROOT, 'server'), join(checkout, 'server'), { recursive: true });
  await symlink(join(ROOT, 'node_modules'), join(checkout, 'node_modules'));
  const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as object;
  await writeFile(join(checkout, 'package.json'), JSON.stringify({ ...manifest, version: '2.0.0' }));
  bundle = await readFile(await maker.make({ version: '2.0.0' }));
  machine = await startMachine();
}, 60_000);

afterAll(async () => {
  for (const close of closers) await close();
  await Promise.all([appliance.close(), maker.dispose()]);
  for (const folder of [machine, checkout]) await rm(folder, { recursive: true, force: true });
});

/** hostd's two sockets on a machine of its own. */
async function startMachine(): Promise<string> {
  const top = await mkdtemp(join(tmpdir(), 'holdfast-machine-'));
  const places = hostPlaces(top);
  const { clock, deps } = appliance;
  await mkdir(join(top, 'etc', 'holdfast'), { recursive: true });
  await mkdir(places.run, { recursive: true });
  await writeFile(places.imageFile, JSON.stringify({ product: 'holdfast', version: '1.0.0' }));
  await writeMemory(top, FRESH);
  const journal = openJournal(places.state, clock);
  const host = { places, clock, log: deps.log, journal };
  updates = openUpdates({
    ...host,
    rauc: slotEngine(top, 'A', maker.reader, '2.0.0'),
    bootId: randomUUID(),
    reboot: async () => undefined,
  });
  const app = await buildHostApp(host, [updateRoutes(updates)]);
  const runApp = await buildRehearsalApp({
    log: deps.log,
    updates,
    dataDir: appliance.dataDir,
    openRoot: async () => ({ root: checkout, close: async () => undefined }),
    launch: (root, request) => {
      const [command = '', ...args] = programCall(root, request);
      return runProcess(command, args, { timeoutMs: 60_000, env: { PATH: '/usr/bin:/bin' } });
    },
  });
  deps.config.hostSocket = join(places.run, 'host.sock');
  await app.listen({ path: shortPath(deps.config.hostSocket) });
  await runApp.listen({ path: shortPath(rehearsalSocket(deps.config.hostSocket)) });
  closers.push(
    () => app.close(),
    () => runApp.close(),
    async () => updates.close(),
  );
  return top;
}

beforeEach(async () => {
  await writeMemory(machine, FRESH);
});

async function giveMigration(source: string): Promise<void> {
  const folder = join(checkout, 'server', 'migrations');
  await writeFile(join(folder, '9000-add-something.ts'), source);
}

const MIGRATION = (statement: string) =>
  `import { sql, type Kysely } from 'kysely';
export async function up(db: Kysely<never>): Promise<void> {
  await sql\`${statement}\`.execute(db);
}
`;

async function upload(): Promise<CheckedBundle> {
  const query = new URLSearchParams({ key: 'cd'.repeat(16), offset: '0', total: String(bundle.length) });
  const headers = { 'content-type': 'application/octet-stream' };
  return expectStatus(
    appliance.owner.call<CheckedBundle>('PUT', `/host/updates/bundle?${query.toString()}`, bundle, {
      headers,
    }),
    200,
  );
}

async function overview(): Promise<UpdateOverview> {
  return expectStatus(appliance.owner.call<UpdateOverview>('GET', '/host/updates'), 200);
}

/** Requests the update and carries out its rehearsal. */
async function rehearse(): Promise<{ update: Update; lines: string[] }> {
  const { sha256 } = await upload();
  const requested = await expectStatus(
    appliance.owner.call<Update>('POST', '/host/updates/install', { sha256, restart: 'manual' }),
    202,
  );
  // Queued by the request itself.
  const run = await appliance.performRun();
  await advanceUpdate(appliance.deps);
  const { history } = await overview();
  const update = history.find((one) => one.id === requested.id);
  if (update === undefined) throw new Error('the update is not in the history');
  return { update, lines: run.lines };
}

async function auditActions(): Promise<string[]> {
  return withClient(appliance.database.adminAddress, 'test', async (client) => {
    const { rows } = await client.query<{ action: string }>(
      "select action from audit_entries where action like 'appliance.update.%' order by at",
    );
    return rows.map(({ action }) => action);
  });
}

describe('an update is refused after its rehearsal, and nothing was changed', () => {
  test.each([
    [
      'whose migration fails',
      MIGRATION('alter table no_such_table add column x text'),
      /migrations of 2\.0\.0 fail.*no_such_table/,
    ],
    [
      'whose migration does not say that the old version works with it',
      MIGRATION('create table extra (id int)'),
      /no way back: its migrations do not say/,
    ],
    [
      'that takes a column away from the old version',
      WORKS + MIGRATION('alter table runs drop column progress'),
      /no way back: runs\.progress is gone/,
    ],
    [
      'that wants the old version to fill a column it does not know',
      WORKS +
        MIGRATION(
          'alter table targets add column extra text not null; alter table targets alter column extra drop default',
        ),
      /fail|targets\.extra is new and has no default/,
    ],
  ])('one %s', async (_name, source, words) => {
    await giveMigration(source);

    const { update } = await rehearse();

    expect(update.state).toBe('refused');
    expect(update.message).toMatch(words);
    expect(readMemory(machine)).toEqual(FRESH);
    const { current } = await overview();
    expect(current).toBeNull();
    expect(existsSync(join(appliance.dataDir, 'scratch', String(update.rehearsal?.runId)))).toBe(false);
  });
});

describe('an update whose migration only adds', () => {
  test('is rehearsed on the restored copy, saved, installed into the other slot, and waits for its restart', async () => {
    await giveMigration(WORKS + MIGRATION('create table extra as select 1 as id'));

    const { update, lines } = await rehearse();
    expect(update).toMatchObject({ state: 'snapshot', rehearsal: { applied: ['9000-add-something'] } });
    expect(lines).toContain('public.extra is new: 1 rows');
    const snapshot = await appliance.performRun();
    await advanceUpdate(appliance.deps);
    await updates.idle();

    const { current } = await overview();
    expect(current).toMatchObject({
      state: 'ready',
      safetySnapshotId: snapshot.result?.snapshotId,
      rebootAt: null,
    });
    expect(readMemory(machine)).toMatchObject({ order: ['B', 'A'], content: { A: '1.0.0', B: '2.0.0' } });
    // The live database has not seen the new migration.
    const live = await withClient(appliance.database.adminAddress, 'test', (client) =>
      client.query("select 1 from migrations where name like '9000%'"),
    );
    expect(live.rowCount).toBe(0);
    expect(await auditActions()).toEqual(
      expect.arrayContaining([
        'appliance.update.requested',
        'appliance.update.advanced',
        'appliance.update.refused',
      ]),
    );
  });

  test('while it waits, another is refused, and everybody sees that a restart comes', async () => {
    const { current, bundles } = await overview();
    const [first] = bundles;

    const second = await appliance.owner.call('POST', '/host/updates/install', {
      sha256: first?.sha256,
      restart: 'now',
    });
    expect(second.status).toBe(409);
    await expectStatus(
      appliance.owner.call('PUT', '/host/updates/window', {
        window: { days: [0, 1, 2, 3, 4, 5, 6], startHour: 0, hours: 24 },
      }),
      204,
    );
    const planned = await expectStatus(
      appliance.owner.call<Update>('POST', `/host/updates/${current?.id ?? ''}/restart`, {
        restart: 'window',
      }),
      200,
    );
    expect(Date.parse(planned.rebootAt ?? '')).toBeGreaterThan(appliance.clock.now().getTime());
  });

  test('is cancelled before its restart, and the slot that runs stays the next one', async () => {
    const { current } = await overview();

    await expectStatus(appliance.owner.call('POST', `/host/updates/${current?.id ?? ''}/cancel`, {}), 200);

    expect((await overview()).current).toBeNull();
    expect(readMemory(machine).order).toEqual(['A', 'B']);
  });
});

describe('fetching', () => {
  test.each([
    ['https://127.0.0.1/x.raucb', /address of this machine/],
    ['https://169.254.169.254/latest', /address of this machine/],
    ['https://[::1]/x', /address of this machine/],
    ['https://user:secret@example.org/x', /no address/],
  ])('refuses %s', async (url, words) => {
    const reply = await appliance.owner.call<{ error: { message: string } }>('POST', '/host/updates/fetch', {
      url,
    });

    expect(reply.status).toBe(400);
    expect(reply.body.error.message).toMatch(words);
  });

  const own = Object.values(networkInterfaces())
    .flat()
    .find((one) => one?.family === 'IPv4' && !one.internal)?.address;

  test.runIf(own !== undefined)(
    'goes on where it was cut off, trusts only the given authority, and follows no redirect',
    async () => {
      const address = own ?? '';
      const folder = maker.folder;
      const made = await runProcess(
        'openssl',
        [
          ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=files'],
          ...[
            '-addext',
            `subjectAltName=IP:${address}`,
            '-keyout',
            join(folder, 'tls.key'),
            '-out',
            join(folder, 'tls.crt'),
          ],
        ],
        { timeoutMs: 30_000 },
      );
      expect(made.exitCode).toBe(0);
      const certificate = await readFile(join(folder, 'tls.crt'), 'utf8');
      const ranges: (string | undefined)[] = [];
      const server = createServer(
        { key: await readFile(join(folder, 'tls.key')), cert: certificate },
        (request, response) => {
          if (request.url === '/moved') return void response.writeHead(302, { location: '/file' }).end();
          ranges.push(request.headers.range);
          const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
          response.writeHead(from > 0 ? 206 : 200, { etag: '"one"', 'content-length': bundle.length - from });
          if (from > 0) return void response.end(bundle.subarray(from));
          // The first time the line breaks half-way.
          response.write(bundle.subarray(0, 30_000), () => setTimeout(() => response.destroy(), 200));
        },
      );
      await new Promise<void>((resolve) => server.listen(0, address, resolve));
      const port = String((server.address() as { port: number }).port);
      const fetchIt = (path: string, certificateAuthority?: string) =>
        appliance.owner.call<CheckedBundle & { error?: { message: string } }>('POST', '/host/updates/fetch', {
          url: `https://${address}:${port}${path}`,
          certificateAuthority,
        });

      const untrusted = await fetchIt('/file');
      const moved = await fetchIt('/moved', certificate);
      const cut = await fetchIt('/file', certificate);
      const whole = await fetchIt('/file', certificate);
      server.close();

      expect(untrusted.body.error?.message).toMatch(/certificate .* is not trusted/);
      expect(moved.body.error?.message).toMatch(/status 302/);
      expect(cut.body.error?.message).toMatch(/cut off at byte 30000/);
      expect(whole).toMatchObject({
        status: 200,
        body: { version: '2.0.0', source: 'url', installable: true },
      });
      expect(ranges).toEqual([undefined, 'bytes=30000-']);
    },
  );
});

test('the known migrations are those of this version', async () => {
  expect(await listMigrations()).not.toContain('9000-add-something');
});
