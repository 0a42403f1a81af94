/**
 * The lock of a bucket follows the policy of its target, on a server that locks: a longer one holds for what is there from the next
 * snapshot on, a shorter one only for what is stored from then on. Run by `test/s3-lock/run.ts`.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Static } from 'typebox';
import type { S3Config } from '../../server/backups/engine.ts';
import { KEEP_NOTHING_MORE } from '../../server/backups/retention/policy-words.ts';
import type { RetentionPreview } from '../../server/backups/retention/schema.ts';
import type { TargetReply } from '../../server/backups/schema.ts';
import { openS3Client, type S3Client } from '../../server/backups/targets/s3/client.ts';
import { LIMITS } from '../../server/backups/targets/s3/limits.ts';
import { listVersions, retainedUntil } from '../../server/backups/targets/s3/versions.ts';
import {
  claimAppliance,
  expectStatus,
  finishRun,
  makeFolder,
  putFile,
  removeFolder,
  runHoldfast,
  serveAppliance,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { addBucketTarget, makeBucket } from './bucket.ts';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const DAY_MS = 86_400_000;
let place: string;
let config: S3Config;
let appliance: ServedAppliance;
let target: TargetReply;
let client: S3Client;

beforeAll(async () => {
  place = await makeFolder('follow-policy');
  config = await makeBucket({ lock: true });
  client = openS3Client(config, LIMITS);
  appliance = await serveAppliance({
    dataDir: join(place, 'data'),
    env: { HOLDFAST_OWN_MACHINE: 'allow' },
  });
  await claimAppliance(appliance);
  target = await addBucketTarget(appliance, config, {
    retention: { ...KEEP_NOTHING_MORE, last: 9, daily: 20 },
    lock: { mode: 'governance', days: 1, followsPolicy: true },
  });
});
afterAll(async () => {
  client.close();
  await appliance.stop();
  await removeFolder(place);
});

async function snapshot(): Promise<void> {
  await putFile(appliance, `${randomBytes(4).toString('hex')}.bin`, randomBytes(300_000));
  expect((await finishRun(appliance, appliance.call('POST', '/snapshots'))).state).toBe('succeeded');
}

const holdfast = (...args: string[]) => runHoldfast(args, { dataDir: join(place, 'data') });

/** For how many days from now each object is locked; claims of writers are not, heads but the last not renewed, trials only for a minute. */
async function lockedDays(): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for await (const { key, id } of listVersions(client, 'repository/')) {
    if (!/^repository\/(keys|keyring|index|snapshots|packs)\//.test(key)) continue;
    const { headers } = await client.send({ method: 'HEAD', key, query: { versionId: id } });
    const until = retainedUntil(headers)?.getTime() ?? 0;
    found.set(key, Math.round((until - Date.now()) / DAY_MS));
  }
  return found;
}

test('what is stored is locked as the policy promises, renewed when it is longer, and never for less', async () => {
  await snapshot();
  const first = await lockedDays();
  expect(target.s3?.lock).toEqual({ mode: 'governance', days: 20, followsPolicy: true, policyDays: 20 });
  expect(first.size).toBeGreaterThan(4);
  expect(new Set(first.values())).toEqual(new Set([25]));

  const policy = { ...KEEP_NOTHING_MORE, last: 9, daily: 80 };
  await expectStatus(appliance.call('PUT', `/targets/${target.id}/retention`, { policy }), 200);
  await snapshot();
  const longer = await lockedDays();
  // Of those that the second snapshot needs no more, such as the keyring before, nothing is promised.
  const renewed = [...first.keys()].filter((key) => /\/(packs|snapshots|index)\//.test(key));
  expect(renewed.map((key) => longer.get(key))).toEqual(renewed.map(() => 100));

  await expectStatus(appliance.call('PUT', `/targets/${target.id}/lock`, { days: 4 }), 200);
  await snapshot();
  const shorter = await lockedDays();
  for (const [key, days] of longer) expect([key, shorter.get(key)]).toEqual([key, days]);
  const fresh = [...shorter].filter(([key]) => !longer.has(key));
  expect(fresh.length).toBeGreaterThan(2);
  expect(new Set(fresh.map(([, days]) => days))).toEqual(new Set([5]));
});

test('the preview says how long the lock keeps what a policy would free', async () => {
  const { lock, reclaim } = await expectStatus(
    appliance.call<Static<typeof RetentionPreview>>('POST', `/targets/${target.id}/retention/preview`, {
      policy: KEEP_NOTHING_MORE,
    }),
    200,
  );

  expect(reclaim.bytes).toBeGreaterThan(0);
  expect(lock).toMatchObject({ heldBytes: reclaim.bytes, exact: true });
  const until = lock?.heldUntil ?? '';
  expect(Math.round((Date.parse(until) - Date.now()) / DAY_MS)).toBe(100);
  const { stdout } = await holdfast('forget', '--dry-run', '--keep-last', '1');
  expect(stdout).toContain(`of that stays on the target until ${until.slice(0, 10)}`);
});

test('the command shows the lock, changes it, and says what that means', async () => {
  const shown = await holdfast('targets', 'lock', 'vault');
  const following = await holdfast('targets', 'lock', 'vault', 'policy');
  const draft = await holdfast('forget', '--dry-run', '--keep-daily', '7');

  const said = 'Locked (governance) for 4 days after the last snapshot that needs an object.\n';
  expect(shown).toMatchObject({ exitCode: 0, stdout: said });
  expect(following.stdout).toBe(
    'Locked (governance) for 80 days after the last snapshot that needs an object, as its policy promises.\n' +
      'From the next snapshot on, all that snapshots need is locked for 80 days instead of 4.\n',
  );
  expect(draft.stdout).toContain('! Only what is stored from then on is locked for 7 days instead of 80.');
});
