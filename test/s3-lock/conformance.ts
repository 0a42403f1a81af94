/** What s3rver has not: versions, locks, conditional writes, checksums, pages. Run by `test/s3-lock/run.ts` on another server. */
import { describe, expect, test, vi } from 'vitest';
import { randomBytes } from 'node:crypto';
import type { S3Config } from '../../server/backups/engine.ts';
import { openS3Client } from '../../server/backups/targets/s3/client.ts';
import { LIMITS } from '../../server/backups/targets/s3/limits.ts';
import { openS3Target } from '../../server/backups/targets/s3/s3.ts';
import { listVersions } from '../../server/backups/targets/s3/versions.ts';
import { describeTarget } from '../backups/target-conformance.ts';
import { makeBucket, type BucketKind } from './bucket.ts';

vi.setConfig({ testTimeout: 240_000, hookTimeout: 60_000 });

const PACK = `packs/aa/${'a'.repeat(64)}.age`;
const BEGIN = Buffer.from('{}\n');

describe.each([
  ['plain', {}],
  ['with versions', { versions: true }],
  ['with locks', { lock: true }],
] as const)('a bucket %s', (kind, of) => {
  describeTarget(`s3 (${kind})`, () => {
    let config: S3Config;
    return {
      async open() {
        config = await makeBucket(of);
        return openS3Target(config);
      },
      reopen: () => openS3Target(config),
      dispose: async () => undefined,
    };
  });
});

async function begun(of: BucketKind = {}, change: Partial<S3Config> = {}, limits = LIMITS) {
  const config = { ...(await makeBucket(of)), ...change };
  const target = await openS3Target(config, limits);
  await target.create('HOLDFAST', BEGIN);
  const client = openS3Client(config, limits);
  return { config, target, client };
}

async function namesIn(target: Awaited<ReturnType<typeof openS3Target>>, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of target.list(prefix)) names.push(name);
  return names;
}

describe('this server', () => {
  test('has conditional writes, and says so', async () => {
    const { target } = await begun();

    expect([...(await target.features())]).toContain('conditional-writes');
  });

  test('takes a large object in parts, and gives it back whole', async () => {
    const { target, client } = await begun(
      {},
      {},
      { ...LIMITS, singlePutBytes: 6_000_000, partBytes: 5 * 1024 * 1024 },
    );
    const data = randomBytes(17_000_001);

    await target.write(PACK, [data.subarray(0, 7), data.subarray(7, 9_000_000), data.subarray(9_000_000)]);

    expect((await target.read(PACK)).equals(data)).toBe(true);
    expect((await target.readBack(PACK)).sizeBytes).toBe(data.length);
    await expect(target.create(PACK, data)).rejects.toMatchObject({ code: 'conflict' });
    const begunUpload = { method: 'POST' as const, key: 'repository/packs/left', query: { uploads: '' } };
    await client.send(begunUpload);
    expect(await target.sweep()).toBe(1);
    expect(await target.sweep()).toBe(0);
  });

  test('a listing of more than one page is whole', async () => {
    const { target, client } = await begun();
    const put = (at: number) =>
      client.send({ method: 'PUT', key: `repository/packs/aa/${String(at)}+x`, body: [Buffer.from('x')] });
    for (let at = 0; at < 1_020; at += 20)
      await Promise.all(Array.from({ length: 20 }, (_, one) => put(at + one)));

    const names = await namesIn(target, 'packs/');

    expect(new Set(names).size).toBe(1_020);
    expect(names).toContain('packs/aa/7+x');
  });
});

describe('versions', () => {
  test('whatever is laid over an object, the first that was written is read', async () => {
    const { target, client } = await begun({ versions: true });
    await target.write(PACK, Buffer.from('ours'));
    const key = `repository/${PACK}`;

    await client.send({ method: 'PUT', key, body: [Buffer.from('of an attacker')] });
    await client.send({ method: 'DELETE', key });

    expect((await target.read(PACK)).toString()).toBe('ours');
    expect(await target.find(PACK)).toEqual({ name: PACK, sizeBytes: 4 });
    expect(await namesIn(target, 'packs/')).toEqual([PACK]);
  });

  test('deleting takes all of them', async () => {
    const { target, client } = await begun({ versions: true });
    await target.write(PACK, Buffer.from('ours'));
    await client.send({ method: 'PUT', key: `repository/${PACK}`, body: [Buffer.from('another')] });

    expect(await target.delete(PACK)).toBeUndefined();

    const left = [];
    for await (const version of listVersions(client, `repository/${PACK}`)) left.push(version);
    expect(left).toEqual([]);
  });
});

describe('locks', () => {
  const lock = { mode: 'compliance', days: 30 } as const;
  const DAY_MS = 86_400_000;

  test('an object is locked as it is written, and deleting it says until when', async () => {
    const { target, config } = await begun({ lock: true }, { lock });
    await target.write(PACK, Buffer.from('ours'));

    const held = await target.delete(PACK);

    const days = ((held?.until?.getTime() ?? 0) - Date.now()) / DAY_MS;
    expect([days > 37.9, days < 38.1]).toEqual([true, true]);
    expect((await target.read(PACK)).toString()).toBe('ours');
    const other = await openS3Target(config);
    expect(await namesIn(other, 'packs/')).toEqual([PACK]);
  });

  test('a lock is made longer, and never shorter', async () => {
    const { target } = await begun({ lock: true }, { lock });
    await target.write(PACK, Buffer.from('ours'));
    const far = new Date(Math.floor(Date.now() / 1000) * 1000 + 90 * DAY_MS);

    expect(await target.holdUntil?.(PACK, { atLeast: far, until: far })).toEqual(far);
    expect(await target.holdUntil?.(PACK, { atLeast: new Date(), until: new Date() })).toEqual(far);
    expect((await target.delete(PACK))?.until).toEqual(far);
  });

  test('claims of writers and what is tried out are not locked', async () => {
    const { target } = await begun({ lock: true }, { lock });
    await target.create('writers/1', Buffer.from('me'));
    const trial = await target.openTrial();
    await trial.target.create('keys/1-x', Buffer.from('x'));
    await trial.remove();

    expect(await target.delete('writers/1')).toBeUndefined();
    expect(await target.sweep()).toBe(0);
  });
});
