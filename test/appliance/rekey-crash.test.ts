import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { settleKeyRegister } from '../../server/appliance/index.ts';
import { childEnvironment } from '../../server/lib/config.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import {
  expectStatus,
  proveTestKit,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

let appliance: TestAppliance;
let owner: TestCaller;
beforeAll(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  await proveTestKit(owner);
});
afterAll(() => appliance.close());

function rekeyUntilKilled(crashAt: string) {
  const { address } = appliance.database;
  const hook = join(import.meta.dirname, '..', 'helpers', 'crash-at.ts');
  const script = join(import.meta.dirname, 'rekey-child.ts');
  const child = startProcess(process.execPath, ['--import', hook, script], {
    env: childEnvironment({
      HOLDFAST_TEST_CRASH_AT: crashAt,
      HOLDFAST_TEST_ORDER: JSON.stringify({ address, dataDir: appliance.dataDir }),
    }),
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return endOf(child);
}

async function known(): Promise<{ generations: number[]; entries: Record<string, unknown>[] }> {
  const register = await expectStatus(
    owner.call<{ generations: { generation: number }[] }>('GET', '/keys/register'),
    200,
  );
  const entries = await appliance.deps.db
    .selectFrom('audit_entries')
    .select('detail')
    .where('action', '=', 'appliance.repository.rekeyed')
    .execute();
  return {
    generations: register.generations.map((one) => one.generation),
    entries: entries.map(({ detail }) => detail as Record<string, unknown>),
  };
}

describe('re-keying', () => {
  test('that is killed after keyd made the generation is in the register and the audit log soon after, once', async () => {
    expect((await rekeyUntilKilled('appliance.rekey.keyed:1')).signal).toBe('SIGKILL');
    expect((await appliance.deps.keys.status()).repository.generation).toBe(2);
    expect(await known()).toEqual({ generations: [1], entries: [] });

    // As the scheduler does at every start.
    await settleKeyRegister(appliance.deps);
    await settleKeyRegister(appliance.deps);

    expect(await known()).toMatchObject({
      ...{ generations: [1, 2], entries: [{ before: 1, after: 2, foundAfterwards: true }] },
    });
  });

  test('from a generation that is not the newest any more is refused, and changes nothing', async () => {
    const again = await appliance.console.call('POST', '/keys/rekey', { follows: 1, reason: 'Once more' });

    expect(again).toMatchObject({ status: 409, body: { error: { code: 'conflict' } } });
    expect((await known()).generations).toEqual([1, 2]);
  });

  test('says who did it and why', async () => {
    await expectStatus(owner.call('POST', '/keys/rekey', { follows: 2, reason: ' The notary closes ' }), 201);

    expect((await known()).entries.at(-1)).toMatchObject({
      before: 2,
      after: 3,
      reason: 'The notary closes',
    });
  });

  test('ends at 32 generations, with a clear refusal', async () => {
    for (let generation = 3; generation < 32; generation++) {
      await appliance.deps.keys.rekeyRepository(generation);
    }

    const refused = await owner.call('POST', '/keys/rekey', { follows: 32, reason: 'One more' });

    expect(refused).toMatchObject({ status: 413, body: { error: { code: 'too_large' } } });
    expect((await appliance.deps.keys.status()).repository.generation).toBe(32);
  });
});
