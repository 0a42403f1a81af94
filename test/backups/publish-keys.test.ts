/** Other kits reach every target by a run of its own; one that is away is given them later. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { publishKeysWhenDue } from '../../server/backups/index.ts';
import { decryptAge } from '../../server/keys/index.ts';
import { expectStatus, proveTestKit, type TestKit } from '../helpers/appliance.ts';
import { addSecondTarget, objectsIn, verifyByKit, type SecondTarget } from '../helpers/second-target.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let appliance: StockedAppliance;
let second: SecondTarget;
let another: TestKit;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  second = await addSecondTarget(appliance, 'second');
  await stock(appliance);
  await appliance.takeSnapshot();
});
afterAll(() => appliance.close());

/** As the chore does. @returns undefined when nothing is due. */
async function giveKeys() {
  await publishKeysWhenDue(appliance.deps);
  const open = await appliance.deps.db
    .selectFrom('runs')
    .select('id')
    .where('state', '=', 'queued')
    .executeTakeFirst();
  return open === undefined ? undefined : appliance.performRun();
}

async function behind(): Promise<string[]> {
  const { body } = await appliance.owner.call<{ repository: { targetsBehind: string[] } }>(
    'GET',
    '/recovery-kits',
  );
  return body.repository.targetsBehind;
}

/** How many keyring objects of a target, the newest ones included, a kit opens. */
async function opened(path: string, kind: 'keys' | 'keyring', kit: TestKit): Promise<boolean[]> {
  const names = await objectsIn(path, kind);
  return Promise.all(
    names.map(async (name) => {
      const stored = await readFile(join(path, kind, name));
      return decryptAge(stored, [kit.identity]).then(
        () => true,
        () => false,
      );
    }),
  );
}

test('after a snapshot every target has the keys, and nothing is due', async () => {
  expect(await behind()).toEqual([]);
  expect(await giveKeys()).toBeUndefined();
});

test('another kit opens every target without another snapshot', async () => {
  another = await proveTestKit(appliance.owner);
  expect(await behind()).toEqual(['copy', 'second']);

  const run = await giveKeys();

  expect(run).toMatchObject({ kind: 'publish-keys', state: 'succeeded', result: { given: 2 } });
  expect(await behind()).toEqual([]);
  for (const path of [appliance.targetPath, second.path]) {
    expect(await verifyByKit({ ...appliance, kit: another }, path)).toEqual([1]);
    expect(await opened(path, 'keyring', another)).toContain(true);
  }
});

test('a retired kit opens nothing that is given later; a target that is away is given it when it is back', async () => {
  const before = await objectsIn(second.path, 'keyring');
  await second.away();
  await expectStatus(
    appliance.console.call('POST', `/recovery-kits/${appliance.kit.id}/retire`, { reason: 'Lost' }),
    204,
  );

  const run = await giveKeys();
  const tooSoon = await giveKeys();
  const waiting = await behind();
  await second.back();
  appliance.clock.offsetMs += 31 * 60_000;
  const later = await giveKeys();
  appliance.clock.offsetMs = 0;

  expect(run).toMatchObject({ state: 'partial', result: { given: 1 } });
  expect(tooSoon).toBeUndefined();
  expect(waiting).toEqual(['second']);
  expect(later).toMatchObject({ state: 'succeeded', result: { given: 1 } });
  const fresh = (await objectsIn(second.path, 'keyring')).filter((name) => !before.includes(name));
  expect(fresh.length).toBeGreaterThan(0);
  for (const name of fresh) {
    const stored = await readFile(join(second.path, 'keyring', name));
    await expect(decryptAge(stored, [appliance.kit.identity])).rejects.toMatchObject({ code: 'wrong_key' });
    await decryptAge(stored, [another.identity]);
  }
  // Of the keys object of before, its holder may have a copy: it opens the generation for ever.
  expect((await opened(second.path, 'keys', appliance.kit)).filter(Boolean)).toHaveLength(2);
  expect((await opened(second.path, 'keys', another)).filter(Boolean)).toHaveLength(2);
});

test('a kit that came later is the one whose keys a kit test is given', async () => {
  const third = await proveTestKit(appliance.owner);
  await giveKeys();

  for (const targetId of [appliance.targetId, second.id]) {
    const { keysObject } = await expectStatus(
      appliance.owner.call<{ keysObject: string }>('GET', `/restore-tests/kit-material?targetId=${targetId}`),
      200,
    );
    expect(String(await decryptAge(Buffer.from(keysObject, 'base64'), [third.identity]))).toContain(third.id);
  }
});
