/** The write-ahead log over a re-keying: it goes on at once under the new generation, and moments on both sides of it come back. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { publishKeysWhenDue } from '../../../server/backups/index.ts';
import { recoverAppliance } from '../../../server/backups/recover.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import type { RestoreTest } from '../../../server/restore-tests/schema.ts';
import { expectStatus, proveTestKit, type TestKit } from '../../helpers/appliance.ts';
import { verifyByKit } from '../../helpers/second-target.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { lendFromKit } from '../../restore-tests/open-kit.ts';
import { namedFiles } from './named-files.ts';
import {
  databaseNow,
  look,
  shipUntilKilled,
  startShipping,
  switchOn,
  takeAnySnapshot,
  writeLog,
  type Shipping,
} from './shipping.ts';

vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 });

let appliance: StockedAppliance;
let shipping: Shipping;
let place: string;
let stays: TestKit;
/** Before and after the re-keying, which both go on from a snapshot before it; and one that goes on from a later snapshot. */
let before: Date;
let after: Date;
let later: Date;

beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'holdfast-rekeyed-'));
  appliance = await startStockedAppliance();
  stays = await proveTestKit(appliance.owner);
  await stock(appliance);
  await appliance.takeSnapshot();
  await expectStatus(
    appliance.console.call('POST', `/recovery-kits/${appliance.kit.id}/retire`, { reason: 'Lost' }),
    204,
  );
  appliance.clock.offsetMs += 31 * 60_000;
  await publishKeysWhenDue(appliance.deps);
  expect(await appliance.performRun()).toMatchObject({ kind: 'publish-keys', state: 'succeeded' });
  appliance.clock.offsetMs = 0;
  await switchOn(appliance);
  shipping = await startShipping(appliance);
  await shipping.caughtUp();
  await takeAnySnapshot(appliance);
  await appliance.upload('before.txt', Buffer.from('before'));
  await shipping.caughtUp();
  before = await databaseNow(appliance);
  // The piece that this moment lies in ends before the re-keying.
  await writeLog(appliance, 1);
  await shipping.caughtUp();
});
afterAll(async () => {
  await shipping.stop();
  await appliance.close();
  await rm(place, { recursive: true, force: true });
});

const rekey = (follows: number) =>
  expectStatus(appliance.console.call('POST', '/keys/rekey', { follows, reason: 'A kit was lost' }), 201);
const generationsThere = async (): Promise<string[]> =>
  [
    ...new Set((await readdir(join(appliance.targetPath, 'keys'))).map((name) => name.split('-')[0] ?? '')),
  ].sort();

let made = 0;
async function recoverTo(at: Date, by: TestKit) {
  const { id: kitId, identity: ageIdentity, repositoryId, trustRoot } = by;
  const dataDir = join(place, `new-${String(++made)}`);
  const report = await recoverAppliance({
    ...{ target: { kind: 'directory', path: appliance.targetPath }, point: { kind: 'time', at } },
    ...{ kit: { kitId, ageIdentity, repositoryId, trustRoot }, dataDir },
    ...{ clock: systemClock, confirm: async () => true, signal: new AbortController().signal },
  });
  return { dataDir, report };
}

async function testMoment(at: Date, lent?: object): Promise<RestoreTest> {
  const body = { targetId: appliance.targetId, time: at.toISOString(), mode: 'full', ...(lent && { lent }) };
  const test = await expectStatus(
    appliance.owner.call<RestoreTest>('POST', '/restore-tests/point-in-time', body),
    202,
  );
  await appliance.performRun();
  return expectStatus(appliance.owner.call<RestoreTest>('GET', `/restore-tests/${test.id}`), 200);
}

describe('shipping that is under way while the repository is re-keyed', () => {
  test('gives the target the new keys by itself and goes on', async () => {
    await rekey(1);
    await appliance.upload('after.txt', Buffer.from('after'));
    await shipping.caughtUp();
    after = await databaseNow(appliance);
    await appliance.upload('end.txt', Buffer.from('end'));
    await shipping.caughtUp();

    expect(await generationsThere()).toEqual(['1', '2']);
    expect(look(appliance, (view) => view.reports().get(appliance.targetId))).toMatchObject({
      ...{ state: 'shipping', problem: null },
    });
    expect(await verifyByKit({ ...appliance, kit: stays }, appliance.targetPath)).toEqual([1, 2]);
  });

  test('restores moments before and after it, by the test identity and by a kit in use', async () => {
    for (const at of [before, after]) {
      for (const lent of [undefined, await lendFromKit({ ...appliance, kit: stays })]) {
        const tested = await testMoment(at, lent);

        expect(tested.checks.filter((check) => check.state !== 'passed')).toEqual([]);
        expect(tested).toMatchObject({ state: 'passed', keySource: lent ? 'recovery-kit' : 'test-identity' });
      }
    }
  });

  test.each(['backups.wal.keyring.written', 'backups.wal.keys.written', 'backups.wal.keys.verified'])(
    'and killed at %s goes on when it is started again',
    async (point) => {
      await shipping.stop();
      const { generation } = (await appliance.deps.keys.status()).repository;
      await rekeyAnyway(generation);
      await appliance.upload(`${point}.txt`, Buffer.from(point));

      expect(await shipUntilKilled(appliance, point)).toMatchObject({ signal: 'SIGKILL' });
      shipping = await startShipping(appliance);
      await shipping.caughtUp();

      expect(await generationsThere()).toContain(String(generation + 1));
      expect(await verifyByKit({ ...appliance, kit: stays }, appliance.targetPath)).toEqual([1, 2]);
    },
  );

  test('goes on from a snapshot of the new generation', async () => {
    await appliance.takeSnapshot();
    await appliance.upload('later.txt', Buffer.from('later'));
    await shipping.caughtUp();
    later = await databaseNow(appliance);
    await appliance.upload('last.txt', Buffer.from('last'));
    await shipping.caughtUp();

    expect(await testMoment(later)).toMatchObject({ state: 'passed' });
  });
});

/** Without waiting for the targets, as if the machine had ended in between. */
async function rekeyAnyway(follows: number): Promise<void> {
  await appliance.deps.keys.rekeyRepository(follows);
}

describe('recovery', () => {
  test('with a kit that was retired before says which kit is needed', async () => {
    await expect(recoverTo(after, appliance.kit)).rejects.toMatchObject({
      code: 'wrong_key',
      message: expect.stringMatching(
        /^The piece .* of the write-ahead log, up to .*, does not open/,
      ) as string,
      hint: expect.stringContaining('Take a recovery kit that is in use') as string,
    });
    await expect(recoverTo(before, appliance.kit)).rejects.toMatchObject({
      code: 'wrong_key',
      message: 'This recovery kit does not open the newest keyring: it was retired',
    });
  });

  test('with a kit in use reaches moments before the re-keying, after it, and after a later snapshot', async () => {
    const names = [...appliance.files.keys()];
    const reached: [Date, string][] = [
      [before, 'before.txt'],
      [after, 'after.txt'],
      [later, 'later.txt'],
    ];
    for (const [at, last] of reached) {
      const { dataDir, report } = await recoverTo(at, stays);

      const files = names.indexOf(last) + 1;
      expect(report.point?.asked).toEqual({ time: at.toISOString() });
      expect(await namedFiles(dataDir), last).toEqual({ files, whole: files });
    }
  });
});
