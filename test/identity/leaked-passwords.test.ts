/** The lists of leaked passwords: the one that comes with Holdfast, and the operator's. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { mkdtemp, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hashStart, isInList } from '../../server/identity/passwords/leaked-list.ts';
import { isLeaked } from '../../server/identity/passwords/leaked-passwords.ts';
import { childEnvironment } from '../../server/lib/config.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import { OWNER, expectStatus, startTestAppliance, type TestAppliance } from '../helpers/appliance.ts';
import type { LeakOrder } from './leak-child.ts';

const OWN_LIST = join(import.meta.dirname, '../../server/identity/passwords/leaked-passwords.bin');
const MINUTES_MS = 120_000;

let appliance: TestAppliance;
beforeAll(async () => {
  appliance = await startTestAppliance();
});
afterAll(() => appliance.close());

const lineOf = (password: string, count = 1) =>
  `${createHash('sha1').update(password).digest('hex').toUpperCase()}:${count}`;
const listOf = (passwords: string[], count = 1) =>
  `${passwords
    .map((one) => lineOf(one, count))
    .sort()
    .join('\r\n')}\r\n`;
const give = (content: string, query = '') =>
  appliance.console.call('PUT', `/console/leaked-passwords${query}`, undefined, {
    payload: Buffer.from(content),
    headers: { 'content-type': 'application/octet-stream' },
  });
const leaked = (password: string) => isLeaked(appliance.deps, password);
const filesOf = () => readdir(dataPaths(appliance.dataDir).passwords);

describe('the list that comes with Holdfast', () => {
  test.each(['password', 'qwertyuiop', 'g1s2h3v8', 'xbox360live', 'trustno1'])('holds "%s"', async (one) => {
    expect(await leaked(one)).toBe(true);
  });

  test('takes fewer than one of 100,000 other passwords for leaked ones', async () => {
    let found = 0;
    for (let time = 0; time < 3_000; time += 1)
      if (await isInList(OWN_LIST, hashStart(randomBytes(9).toString('base64')))) found += 1;

    expect(found).toBeLessThanOrEqual(1);
  });

  test('a look takes as long for a password in it as for another', async () => {
    const times = { inside: [] as number[], outside: [] as number[] };
    const pairs = [
      ['password', 'tk8#Vq2m'],
      ['trustno1', 'uV4!pq9Zs'],
      ['xbox360live', 'correct horse battery stable'],
    ] as const;
    const timeOf = async (password: string): Promise<number> => {
      const startedAt = performance.now();
      await isInList(OWN_LIST, hashStart(password));
      return performance.now() - startedAt;
    };
    await timeOf('warm');
    // In turn: what else the machine does meanwhile slows both alike.
    for (let round = 0; round < 100; round += 1)
      for (const [leakedOne, other] of pairs) {
        times.inside.push(await timeOf(leakedOne));
        times.outside.push(await timeOf(other));
      }
    const medianOf = (all: number[]): number => all.sort((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0;
    const [inside, outside] = [medianOf(times.inside), medianOf(times.outside)];

    expect(inside / outside).toBeLessThan(2);
    expect(outside / inside).toBeLessThan(2);
  });
});

describe('a list that an operator gives', () => {
  const sorted = ['leaked one 8271', 'leaked two 5520'].map((one) => lineOf(one)).sort();
  test.each([
    ['is empty', '', 'is empty'],
    ['holds passwords instead of hashes', 'password\n', 'Line 1 is not of the form'],
    ['holds hashes that are too short', `${'A'.repeat(39)}:1\n`, 'Line 1 is not of the form'],
    ['holds no counts', `${'A'.repeat(40)}\n`, 'Line 1 is not of the form'],
    ['has a line without an end', 'A'.repeat(5_000), 'Line 1 is not of the form'],
    ['is not in order', [...sorted].reverse().join('\n'), 'Line 2 is out of order'],
    ['breaks off in a hash', `${sorted[0]}\n${sorted[1]?.slice(0, 20)}`, 'Line 2 is not of the form'],
  ])('and that %s is refused, and the one from before stays', async (_what, content, reason) => {
    await expectStatus(give(listOf(['the one from before'])), 200);
    const before = await filesOf();

    const reply = await give(content);

    expect([reply.status, (reply.body.error as { message: string }).message]).toEqual([
      400,
      expect.stringContaining(reason),
    ]);
    expect(await filesOf()).toEqual(before);
    expect(await leaked('the one from before')).toBe(true);
  });

  test('counts from then on, in the place of the one from before', async () => {
    const many = Array.from({ length: 3_000 }, (_, index) => `leaked number ${index}`);
    await expectStatus(give(listOf(['the one from before'])), 200);

    const lists = await expectStatus(give(listOf(many)), 200);

    expect(lists).toMatchObject({ own: { passwords: 488_130 }, given: { passwords: 3_000, usable: true } });
    const found = await Promise.all(many.map(leaked));
    expect(found.filter(Boolean)).toHaveLength(3_000);
    expect(await leaked('the one from before')).toBe(false);
    expect(await leaked('password')).toBe(true);
    expect(await filesOf()).toHaveLength(1);
    const claim = { code: appliance.claimCode, owner: { ...OWNER, password: 'leaked number 77' } };
    const refused = await appliance.stranger.call('POST', '/setup/claim', claim);
    expect([refused.status, JSON.stringify(refused.body)]).toEqual([
      400,
      expect.stringContaining('has leaked'),
    ]);
  });

  test('stays when something fails after it counts', async () => {
    await expectStatus(give(listOf(['the one from before'])), 200);
    const inTheWay = join(dataPaths(appliance.dataDir).passwords, 'leaked-in-the-way');
    const hook = Symbol.for('holdfast.crashPoint');
    Object.assign(globalThis, {
      [hook]: (step: string) => {
        if (step === 'identity.leaked-list.used') mkdirSync(inTheWay);
      },
    });

    const reply = await give(listOf(['the new one']));

    Reflect.deleteProperty(globalThis, hook);
    await rmdir(inTheWay);
    expect(reply.status).toBe(500);
    expect([await leaked('the new one'), await leaked('the one from before')]).toEqual([true, false]);
  });

  test('is taken as far as it was seen often', async () => {
    const content = [lineOf('seen often 4711', 12), lineOf('seen once 0815', 1)].sort().join('\n');

    const lists = await expectStatus(give(content, '?atLeast=10'), 200);

    expect(lists).toMatchObject({ given: { passwords: 1, atLeast: 10 } });
    expect([await leaked('seen often 4711'), await leaked('seen once 0815')]).toEqual([true, false]);
    expect((await give(content, '?atLeast=13')).status).toBe(400);
  });

  test('that is gone or damaged is said to be, and does not stop anybody who chooses a good password when gone', async () => {
    await expectStatus(give(listOf(['the one from before'])), 200);
    const [name = ''] = await filesOf();
    await rm(join(dataPaths(appliance.dataDir).passwords, name));

    expect(await leaked('tk8#Vq2m')).toBe(false);
    const lists = await expectStatus(appliance.console.call('GET', '/console/leaked-passwords'), 200);
    expect(lists).toMatchObject({ given: { usable: false } });
  });

  test('is not taken in by somebody else than the console', async () => {
    const reply = await appliance.stranger.call('PUT', '/console/leaked-passwords', {});

    expect(reply.status).toBe(404);
  });
});

describe('taking in a list, killed', () => {
  test.each([
    ['identity.leaked-list.written', false],
    ['identity.leaked-list.used', true],
  ])('at %s leaves one whole list', { timeout: MINUTES_MS }, async (step, isNew) => {
    await expectStatus(give(listOf(['the one from before'])), 200);
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-test-leak-'));
    const file = join(folder, 'list.txt');
    await writeFile(file, listOf(['the new one 6042']));
    const order: LeakOrder = { address: appliance.database.address, dataDir: appliance.dataDir, file };
    const child = startProcess(
      process.execPath,
      [
        '--import',
        join(import.meta.dirname, '../helpers/crash-at.ts'),
        join(import.meta.dirname, 'leak-child.ts'),
      ],
      {
        env: childEnvironment({
          HOLDFAST_TEST_CRASH_AT: step,
          HOLDFAST_TEST_ORDER: JSON.stringify(order),
        }),
        stdio: ['ignore', 'inherit', 'inherit'],
      },
    );

    expect((await endOf(child)).signal).toBe('SIGKILL');

    expect([await leaked('the one from before'), await leaked('the new one 6042')]).toEqual([!isNew, isNew]);
    await expectStatus(give(listOf(['another 5310'])), 200);
    expect(await filesOf()).toHaveLength(1);
    await rm(folder, { recursive: true });
  });
});
