/** No more is sent to a target than people allow, by each kind of target, and by several threads together. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Pace, TargetConfig } from '../../server/backups/engine.ts';
import type { TargetReply } from '../../server/backups/schema.ts';
import { openTurn, isLimited, sharedLine } from '../../server/backups/targets/pace.ts';
import { openTarget } from '../../server/backups/targets/open-target.ts';
import { getTarget } from '../../server/backups/queries.ts';
import { openTargetConfig } from '../../server/backups/target-config.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { startS3Server, type S3Server } from '../helpers/s3-server.ts';
import { startSftpServer, type SftpServer } from '../helpers/sftp-server.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 60_000 });

const HINT = 'HOLDFAST';
const NAME = `packs/aa/${'a'.repeat(64)}.age`;
/** Two seconds at what is allowed. */
const PACE: Pace = { bytesPerSecond: 1_000_000 };
const CONTENT = randomBytes(2_000_000);

async function tookMs(act: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await act();
  return performance.now() - startedAt;
}

describe('what is limited', () => {
  const at = (instant: string, hours: Pace['hours']) =>
    isLimited(hours === undefined ? {} : { hours }, new Date(instant));
  const work = { from: '07:00', to: '19:00', days: [1, 2, 3, 4, 5], timeZone: 'Europe/Zurich' };
  const night = { from: '22:00', to: '06:00', days: [5], timeZone: 'UTC' };

  test.each([
    // A Monday in winter: an hour ahead of UTC.
    ['2026-11-23T05:59:00Z', work, false],
    ['2026-11-23T06:00:00Z', work, true],
    ['2026-11-23T17:59:00Z', work, true],
    ['2026-11-23T18:00:00Z', work, false],
    ['2026-11-22T12:00:00Z', work, false],
    // A Monday in summer: two hours ahead.
    ['2026-07-06T05:00:00Z', work, true],
    // From Friday into Saturday, and no other night.
    ['2026-11-27T21:59:00Z', night, false],
    ['2026-11-27T22:00:00Z', night, true],
    ['2026-11-28T05:59:00Z', night, true],
    ['2026-11-28T06:00:00Z', night, false],
    ['2026-11-28T23:00:00Z', night, false],
    ['2026-11-27T05:00:00Z', night, false],
    ['2026-11-27T12:00:00Z', { ...night, from: '00:00', to: '00:00' }, true],
    ['2026-11-28T12:00:00Z', { ...night, from: '00:00', to: '00:00' }, false],
    ['2026-11-28T12:00:00Z', undefined, true],
  ])('%s', (instant, hours, limited) => {
    expect(at(instant, hours)).toBe(limited);
  });
});

describe('turns', () => {
  test('are shared by all who share a line', async () => {
    const line = sharedLine();
    const turns = [openTurn({ ...PACE, line }), openTurn({ ...PACE, line })];

    const ms = await tookMs(() =>
      Promise.all(
        turns.map(async (turn) => {
          for (let piece = 0; piece < 4; piece++) await turn?.(100_000);
        }),
      ),
    );

    // Eight pieces of a tenth of a second; the first begins at once.
    expect(ms).toBeGreaterThan(650);
  });

  test('without a limit there are none', () => {
    expect(openTurn(undefined)).toBeUndefined();
  });

  test('outside of its hours nobody waits', async () => {
    const days = [((new Date().getUTCDay() + 2) % 7) + 1];
    const turn = openTurn({ ...PACE, hours: { from: '00:00', to: '00:00', days, timeZone: 'UTC' } });

    expect(await tookMs(async () => turn?.(50_000_000))).toBeLessThan(1_000);
    expect(await tookMs(async () => turn?.(50_000_000))).toBeLessThan(1_000);
  });
});

describe('a target', () => {
  let s3: S3Server;
  let sftp: SftpServer;
  let place: string;

  beforeAll(async () => {
    [s3, sftp] = await Promise.all([startS3Server(), startSftpServer()]);
    place = await mkdtemp(join(tmpdir(), 'holdfast-pace-'));
  }, 60_000);
  afterAll(async () => {
    await Promise.all([s3.stop(), sftp.stop(), rm(place, { recursive: true, force: true })]);
  });

  test.each(['directory', 'sftp', 's3'] as const)(
    'of kind %s takes what is sent as slowly as is allowed, whole',
    async (kind) => {
      const configs: Record<typeof kind, () => Promise<TargetConfig>> = {
        directory: async () => ({ kind: 'directory', path: place }),
        sftp: async () => sftp.config(await sftp.makeFolder('paced')),
        s3: async () => s3.config('paced'),
      };
      const config = await configs[kind]();
      const target = await openTarget({ ...config, pace: { ...PACE, line: sharedLine() } });
      await target.write(HINT, Buffer.from('{}'));

      const ms = await tookMs(() =>
        target.write(NAME, [CONTENT.subarray(0, 900_000), CONTENT.subarray(900_000)]),
      );

      expect(ms).toBeGreaterThan(1_500);
      expect((await target.read(NAME)).equals(CONTENT)).toBe(true);
      await target.close();
    },
  );
});

describe('people', () => {
  let appliance: StockedAppliance;
  beforeAll(async () => {
    appliance = await startStockedAppliance();
    await stock(appliance);
  }, 120_000);
  afterAll(async () => {
    await (appliance as StockedAppliance | undefined)?.close();
  });

  const put = (pace: unknown) =>
    appliance.owner.call<TargetReply>('PUT', `/targets/${appliance.targetId}/pace`, { pace });
  const hours = { from: '07:00', to: '19:00', days: [1, 2], timeZone: 'Europe/Zurich' };
  const open = async (sender: 'run' | 'log') =>
    openTargetConfig(appliance.deps, await getTarget(appliance.deps.db, appliance.targetId), sender);

  test.each([
    { bytesPerSecond: 1 },
    { bytesPerSecond: 300_000, hours: { ...hours, from: '24:00' } },
    { bytesPerSecond: 300_000, hours: { ...hours, days: [] } },
    { bytesPerSecond: 300_000, hours: { ...hours, timeZone: 'Europe/Nowhere' } },
  ])('are refused what makes no sense: %j', async (pace) => {
    expect((await put(pace)).status).toBe(400);
    expect((await open('run')).pace).toBeUndefined();
  });

  test('set it, it is in the audit log, and the next run keeps to it', async () => {
    const reply = await expectStatus(put({ bytesPerSecond: 1_000_000, hours }), 200);

    expect(reply.pace).toEqual({ bytesPerSecond: 1_000_000, hours });
    expect(await open('run')).toMatchObject({ pace: { bytesPerSecond: 1_000_000, hours } });
    const entry = await appliance.deps.db
      .selectFrom('audit_entries')
      .select('detail')
      .where('action', '=', 'backups.target.pace-changed')
      .executeTakeFirstOrThrow();
    expect(entry.detail).toEqual({ before: null, after: { bytesPerSecond: 1_000_000, hours } });

    await expectStatus(put({ bytesPerSecond: 5_000_000 }), 200);
    // What the snapshot stores is at least the file that does not compress.
    expect(await tookMs(() => appliance.takeSnapshot())).toBeGreaterThan(500);
    await expectStatus(put(null), 200);
    expect((await open('run')).pace).toBeUndefined();
  });

  test('the log, where it is shipped, has a part of it, so that both together keep to it', async () => {
    await expectStatus(put({ bytesPerSecond: 1_000_000 }), 200);
    await appliance.deps.db.updateTable('point_in_time').set({ enabled: true }).execute();

    const [run, log] = await Promise.all([open('run'), open('log')]);

    expect((run.pace?.bytesPerSecond ?? 0) + (log.pace?.bytesPerSecond ?? 0)).toBe(1_000_000);
  });
});
