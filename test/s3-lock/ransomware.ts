/**
 * Somebody has taken the appliance over and has the access key of its bucket. With a lock, whatever they delete or write over, the kit
 * still restores what was there. Run by `test/s3-lock/run.ts`.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { S3Config } from '../../server/backups/engine.ts';
import { openS3Client, type S3Client } from '../../server/backups/targets/s3/client.ts';
import { S3Refusal } from '../../server/backups/targets/s3/failures.ts';
import { LIMITS } from '../../server/backups/targets/s3/limits.ts';
import { listVersions, type Version } from '../../server/backups/targets/s3/versions.ts';
import { kitToJson, type RecoveryKit } from '../../server/keys/index.ts';
import {
  claimAppliance,
  finishRun,
  makeFolder,
  putFile,
  removeFolder,
  runHoldfast,
  serveAppliance,
} from '../helpers/served-appliance.ts';
import { addBucketTarget, KEY, makeBucket } from './bucket.ts';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const FILES = new Map([
  ['letter.txt', Buffer.from('Dear reader,\n'.repeat(1_000))],
  ['chance.bin', randomBytes(700_000)],
]);
let place: string;
let config: S3Config;
let kit: RecoveryKit;
let attacker: S3Client;

beforeAll(async () => {
  place = await makeFolder('ransomware');
  config = await makeBucket({ lock: true });
  const appliance = await serveAppliance({
    dataDir: join(place, 'data'),
    env: { HOLDFAST_OWN_MACHINE: 'allow' },
  });
  kit = await claimAppliance(appliance);
  for (const [name, content] of FILES) await putFile(appliance, name, content);
  await addBucketTarget(appliance, config, { lock: { mode: 'governance', days: 30 } });
  const snapshot = await finishRun(appliance, appliance.call('POST', '/snapshots'));
  expect(snapshot.state).toBe('succeeded');
  await appliance.stop();
  attacker = openS3Client(config, LIMITS);
});
afterAll(async () => {
  attacker.close();
  await removeFolder(place);
});

async function versions(): Promise<Version[]> {
  const found: Version[] = [];
  for await (const version of listVersions(attacker, 'repository/')) found.push(version);
  return found;
}

/** Claims of writers are not, nor what a trial left after its minute. */
const isLocked = (key: string): boolean => !/\/(writers|\.tmp-[^/]+)\//.test(key);

function lockedIds(all: readonly Version[]): string[] {
  return all.filter(({ key }) => isLocked(key)).map(({ id }) => id);
}

/** DeleteObjects of S3's API. */
function deleteMany(all: readonly Version[]): Parameters<S3Client['send']>[0] {
  const objects = all.map(({ key, id }) => `<Object><Key>${key}</Key><VersionId>${id}</VersionId></Object>`);
  const body = Buffer.from(`<Delete>${objects.join('')}</Delete>`);
  const headers = { 'content-md5': createHash('md5').update(body).digest('base64') };
  return { method: 'POST', query: { delete: '' }, headers, body: [body] };
}

/** @returns the status of a refusal, or of the answer. */
const attempt = (call: Parameters<S3Client['send']>[0]): Promise<number> =>
  attacker.send(call).then(
    ({ status }) => status,
    (error: unknown) => (error instanceof S3Refusal ? error.status : Promise.reject(error as Error)),
  );

describe('with the key of the appliance', () => {
  test('no version of what is locked can be deleted', async () => {
    // Shortening a lock is not tried: moto, unlike the servers that it stands for, lets anybody do it.
    const locked = (await versions()).filter(({ key }) => isLocked(key));
    expect(locked.length).toBeGreaterThan(5);

    for (const { key, id } of locked)
      expect([400, 403], key).toContain(await attempt({ method: 'DELETE', key, query: { versionId: id } }));

    const left = new Set((await versions()).map(({ id }) => id));
    expect(locked.filter(({ id }) => !left.has(id))).toEqual([]);
  });

  test('whatever can be deleted, one by one or many at once, is deleted', async () => {
    const all = await versions();
    const free = all.filter(({ key }) => !isLocked(key));
    expect(free.length).toBeGreaterThan(0);

    // The answer is 200 also when each of them was refused.
    expect(await attempt(deleteMany(all))).toBe(200);
    for (const { key, id } of free) await attempt({ method: 'DELETE', key, query: { versionId: id } });
    expect([400, 403, 409]).toContain(await attempt({ method: 'DELETE' }));

    const left = await versions();
    expect(left.filter(({ key }) => key.includes('/writers/'))).toEqual([]);
    expect(left.map(({ id }) => id)).toEqual(expect.arrayContaining(lockedIds(all)));
  });

  test('everything is hidden by delete markers and written over', async () => {
    for (const { key } of await versions()) {
      expect(await attempt({ method: 'DELETE', key })).toBe(204);
      expect(await attempt({ method: 'PUT', key, body: [randomBytes(100)] })).toBe(200);
    }
    for (const name of ['heads/99999999-' + 'f'.repeat(64), 'writers/99999999'])
      await attempt({ method: 'PUT', key: `repository/${name}`, body: [randomBytes(100)] });
  });
});

test('the kit restores all of it, by a machine that knows nothing', async () => {
  const [kitFile, signInFile] = [join(place, 'kit.json'), join(place, 'key')];
  await writeFile(kitFile, kitToJson(kit), { mode: 0o600 });
  await writeFile(signInFile, `${KEY.accessKeyId}\n${KEY.secretAccessKey}\n`, { mode: 0o600 });
  const from = `s3://${config.bucket}/repository?endpoint=${config.endpoint}`;
  const to = join(place, 'restored');

  const keys = ['--kit', kitFile, '--sign-in-file', signInFile];
  const end = await runHoldfast(['restore', 'latest', '--from', from, ...keys, '--to', to]);

  expect(end, end.stderr).toMatchObject({ exitCode: 0 });
  for (const [name, content] of FILES) expect(await readFile(join(to, name))).toEqual(content);
});
