/** Write-only mode, killed at each step of being turned on: the keys are destroyed or are not, and what is written down says which. */
import { rm, writeFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { settleKeyRegister } from '../../server/appliance/index.ts';
import { openKeyringFile, rootKeyFile, rootKeyPath } from '../../server/keys/index.ts';
import { childEnvironment } from '../../server/lib/config.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import {
  expectStatus,
  proveTestKit,
  startTestAppliance,
  startTestKeyd,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';

let appliance: TestAppliance;
let owner: TestCaller;
let kitId: string;
beforeEach(async () => {
  appliance = await startTestAppliance();
  owner = await appliance.claim();
  kitId = (await proveTestKit(owner)).id;
});
afterEach(() => appliance.close());

const ON = { on: true, follows: 1, reason: ' Nobody reads them here ' };
const turnOn = () => owner.call('POST', '/keys/write-only', ON);

async function entries(): Promise<unknown[]> {
  const rows = await appliance.deps.db
    .selectFrom('audit_entries')
    .select('detail')
    .where('action', '=', 'appliance.repository.write-only-on')
    .execute();
  return rows.map(({ detail }) => detail);
}

/** Of the register of today: each time that the appliance kept a key of its own. */
async function spans(): Promise<{ from: string; to: string | null; generations: number[] }[]> {
  const register = await expectStatus(
    owner.call<{ testIdentity: { spans: { from: string; to: string | null; generations: number[] }[] } }>(
      'GET',
      '/keys/register',
    ),
    200,
  );
  return register.testIdentity.spans;
}

describe('turning it on', () => {
  test('killed after the keys were destroyed: register and audit log have it soon after, once, with the time of the act', async () => {
    const { address } = appliance.database;
    const hook = join(import.meta.dirname, '..', 'helpers', 'crash-at.ts');
    const script = join(import.meta.dirname, 'write-only-child.ts');
    const child = startProcess(process.execPath, ['--import', hook, script], {
      env: childEnvironment({
        HOLDFAST_TEST_CRASH_AT: 'appliance.write-only.destroyed:1',
        HOLDFAST_TEST_ORDER: JSON.stringify({ address, dataDir: appliance.dataDir }),
      }),
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    expect((await endOf(child)).signal).toBe('SIGKILL');
    const { repository } = await appliance.deps.keys.status();
    expect(repository.writeOnly).toBe(true);
    expect(await entries()).toEqual([]);
    appliance.clock.offsetMs = 300_000;

    // As the scheduler does at every start.
    await settleKeyRegister(appliance.deps);
    await settleKeyRegister(appliance.deps);

    const to = repository.identitiesDestroyedAt;
    expect(await entries()).toEqual([{ destroyedAt: to, generation: 1, foundAfterwards: true }]);
    expect(await spans()).toMatchObject([{ to, generations: [1] }]);
  });

  test.each([
    ['keyring.log.written', undefined],
    ['keyring.log.synced', true],
    ['keyring.old-epoch.overwritten', true],
    ['keyring.old-epoch.removed', true],
  ])('with keyd killed at %s leaves nothing half done', async (point, destroyed) => {
    await appliance.killKeyd();
    const dying = await startTestKeyd(appliance.dataDir, `${point}:1`);

    const reply = await turnOn();

    expect(await dying.ended).toMatchObject({ signal: 'SIGKILL' });
    expect(reply.status).toBe(503);
    const keyd = await startTestKeyd(appliance.dataDir);
    const { repository } = await appliance.deps.keys.status();
    if (destroyed !== undefined) expect(repository.writeOnly).toBe(destroyed);
    await settleKeyRegister(appliance.deps);
    expect((await spans()).at(-1)?.to === null).toBe(!repository.writeOnly);
    expect(await entries()).toHaveLength(repository.writeOnly ? 1 : 0);
    if (!repository.writeOnly) await expectStatus(turnOn(), 200);
    await keyd.kill('SIGTERM');
    // Nothing of it is in what the disk holds.
    const { keyring } = dataPaths(appliance.dataDir);
    const file = await openKeyringFile({ directory: keyring, rootKey: rootKeyFile(rootKeyPath(keyring)) });
    expect(file.keyring().repository?.claim).toMatchObject({ testIdentity: null, testRecipient: null });
    expect(file.keyring().dropped).toBe(false);
    await file.close();
  });

  test('is refused while the only kit is a sealed copy that nobody has taken away yet', async () => {
    const folder = dataPaths(appliance.dataDir).kits;
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, `${kitId}.age`), 'age-encryption.org/v1\n');

    const refused = await turnOn();

    expect(refused).toMatchObject({ status: 409, body: { error: { code: 'wrong_state' } } });
    expect(JSON.stringify(refused.body)).toContain('Nobody has shown yet');
    await rm(folder, { recursive: true });
    await expectStatus(turnOn(), 200);
    expect(await entries()).toMatchObject([{ reason: 'Nobody reads them here' }]);
  });

  test('is for the owner, wants a reason, and the generation that was looked at', async () => {
    const admin = await appliance.addPerson('admin');

    expect((await admin.call('POST', '/keys/write-only', ON)).status).toBe(403);
    expect((await owner.call('POST', '/keys/write-only', { ...ON, reason: '  ' })).status).toBe(400);
    expect((await owner.call('POST', '/keys/write-only', { ...ON, follows: 2 })).status).toBe(409);
    expect((await owner.call('POST', '/keys/write-only', { ...ON, on: false })).status).toBe(409);
    expect((await appliance.deps.keys.status()).repository.writeOnly).toBe(false);
  });
});
