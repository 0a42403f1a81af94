/** An appliance that is recovered whole beside one that still runs: looked at in quarantine, then the one to go on with. */
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { recoverAppliance } from '../../server/backups/recover.ts';
import type { RecoveryReport } from '../../server/backups/recover-plan.ts';
import type { RecoveryKit } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import {
  addDirectoryTarget,
  claimAppliance,
  expectStatus,
  finishRun,
  makeFolder,
  putFile,
  removeFolder,
  serveAppliance,
  signIn,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';

const LIMIT_MS = 300_000;

let place: string;
let target: string;
let kit: RecoveryKit;
let old: ServedAppliance;
let report: RecoveryReport;
const asked: string[] = [];

const inTarget = () => readdirSync(target, { recursive: true, encoding: 'utf8' }).sort();
const snapshotOf = (appliance: ServedAppliance) => finishRun(appliance, appliance.call('POST', '/snapshots'));

beforeAll(async () => {
  place = await makeFolder('recover-quarantine');
  target = join(place, 'target');
  mkdirSync(target);
  old = await serveAppliance({ dataDir: join(place, 'old') });
  kit = await claimAppliance(old);
  await addDirectoryTarget(old, target);
  await putFile(old, 'letter.txt', 'Dear reader');
  expect(await snapshotOf(old)).toMatchObject({ state: 'succeeded' });
}, LIMIT_MS);
afterAll(async () => {
  await old.stop();
  await removeFolder(place);
});

test(
  'nothing on the target changes, nobody says that the old machine is off, and that one goes on',
  { timeout: LIMIT_MS },
  async () => {
    const before = inTarget();

    report = await recoverAppliance({
      target: { kind: 'directory', path: target },
      ...{ kit, dataDir: join(place, 'new'), clock: systemClock, beside: true },
      confirm: async ({ kind }) => {
        asked.push(kind);
        return true;
      },
      signal: new AbortController().signal,
    });

    expect(report.quarantined).toBe(true);
    expect(asked).toEqual(['snapshot']);
    expect(inTarget()).toEqual(before);
    expect(await snapshotOf(old)).toMatchObject({ state: 'succeeded' });
  },
);

test(
  'it can be looked into, writes nothing, and takes over once its owner releases it',
  { timeout: LIMIT_MS },
  async () => {
    const fresh = await serveAppliance({ dataDir: join(place, 'new') });
    try {
      await signIn(fresh);
      const { body } = await fresh.call<{ quarantine: { reason: string } | null }>('GET', '/quarantine');
      expect(body.quarantine?.reason).toMatch(
        /^it was recovered from snapshot 1 of .*, beside an appliance that may still run$/,
      );
      const { body: files } = await fresh.call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces');
      const root = files.items[0]?.rootFolderId ?? '';
      const { body: folder } = await fresh.call<{ items: { name: string }[] }>('GET', `/folders/${root}`);
      expect(folder.items.map(({ name }) => name)).toEqual(['letter.txt']);
      const before = inTarget();
      expect(await snapshotOf(fresh)).toMatchObject({ state: 'failed', error: { code: 'wrong_state' } });
      expect(inTarget()).toEqual(before);

      await expectStatus(fresh.call('POST', '/quarantine/release', { othersAreOff: true }), 204);

      expect(await snapshotOf(fresh)).toMatchObject({ state: 'succeeded' });
      // What the old one stored meanwhile is there too.
      const { body: snapshots } = await fresh.call<{ items: unknown[] }>('GET', '/snapshots');
      expect(snapshots.items.length).toBe(3);
    } finally {
      await fresh.stop();
    }
    expect((await snapshotOf(old)).state).toBe('failed');
  },
);
