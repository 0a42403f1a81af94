/**
 * A new generation of the repository's keys: what is written from then on is closed to kits that were retired before, everything else goes
 * on; with a target that is away, with the run killed at each durable step, by restore tests, and without Holdfast.
 */
import { spawnSync } from 'node:child_process';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { settleKeyRegister } from '../../server/appliance/index.ts';
import type { openRepository } from '../../server/backups/index.ts';
import { createSnapshotBrowser, publishKeysWhenDue } from '../../server/backups/index.ts';
import {
  ageRecipientOf,
  createSigningKey,
  decryptAge,
  generateAgeIdentity,
  keyringFromObjects,
  kitToJson,
  makeRecoveryKit,
  newestKeyringNames,
  openKeyringObject,
} from '../../server/keys/index.ts';
import { buildKeysObject } from '../../server/keys/keys-object.ts';
import { trustRootOf } from '../../server/keys/keyring/model.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { createLog } from '../../server/lib/log.ts';
import { expectStatus, proveTestKit, startTestKeyd, type TestKit } from '../helpers/appliance.ts';
import {
  addSecondTarget,
  objectsBelow,
  showSnapshot,
  trySnapshot,
  verifyByKit,
  withKit,
  type SecondTarget,
} from '../helpers/second-target.ts';
import {
  killRunAt,
  startStockedAppliance,
  stock,
  type StockedAppliance,
} from '../helpers/stocked-appliance.ts';
import { tool } from '../helpers/tools.ts';
import { lendFromKit } from '../restore-tests/open-kit.ts';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

const CRASH_POINTS = [
  'backups.keys.given',
  'backups.keys.keyring-published',
  'backups.keys.head-published',
] as const;

let appliance: StockedAppliance;
let second: SecondTarget;
let stays: TestKit;
let old: string;
let fresh: string;
/** What somebody has who took a kit and a keyring object before the kit was retired. */
let stolen: Keyring;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  second = await addSecondTarget(appliance, 'second');
  stays = await proveTestKit(appliance.owner);
  await stock(appliance);
  old = await appliance.takeSnapshot();
  stolen = await openKeyring(appliance.targetPath, appliance.kit);
});
afterAll(() => appliance.close());

const rekey = (follows: number) =>
  appliance.console.call('POST', '/keys/rekey', { follows, reason: 'A kit was lost' });

/** As the chore does, after the time between two tries. */
async function queueKeys(): Promise<void> {
  appliance.clock.offsetMs += 31 * 60_000;
  await publishKeysWhenDue(appliance.deps);
}

type Keyring = ReturnType<typeof keyringFromObjects>;

/** The newest one on a target, as a kit opens it. */
async function openKeyring(path: string, kit: TestKit): Promise<Keyring> {
  const names = (await readdir(join(path, 'keyring'))).map((name) => `keyring/${name}`);
  const { bases, additions } = newestKeyringNames(names);
  const { repositoryId, identity } = kit;
  const signingKeys = await withKit(
    kit,
    appliance.targetPath,
    async ({ keys }) => keys.generations[0]?.signingKeys ?? [],
  );
  const plaintexts = await Promise.all(
    [...bases, ...additions].map(async (name) =>
      openKeyringObject(await readFile(join(path, name)), [identity], { repositoryId, signingKeys, name }),
    ),
  );
  return keyringFromObjects(plaintexts, { repositoryId, signingKeys });
}

/** Names of encrypted objects on a target that one of these keys opens. */
async function openedBy(path: string, identities: readonly string[]): Promise<string[]> {
  const opened: string[] = [];
  for (const name of (await objectsBelow(path)).filter((one) => one.endsWith('.age'))) {
    await decryptAge(await readFile(join(path, name)), identities).then(
      () => opened.push(name),
      () => undefined,
    );
  }
  return opened;
}

const storedBytes = async (id: string): Promise<number> => (await showSnapshot(appliance, id)).storedBytes;

/** The newest keyring that the head names, as `holdfast restore --from` opens it. */
async function openKeyringOf(repository: Awaited<ReturnType<typeof openRepository>>): Promise<void> {
  const signingKeys = repository.keys.generations.flatMap((one) => [...one.signingKeys]);
  for (const name of repository.keyringObjects()) {
    const stored = await repository.target.read(name);
    const reader = { repositoryId: repository.id, signingKeys, name };
    await openKeyringObject(stored, [appliance.kit.identity], reader);
  }
}

function signingKeyOf({ id, publicKey }: ReturnType<typeof createSigningKey>) {
  return { id, publicKey: Buffer.from(publicKey).toString('base64'), validFrom: new Date().toISOString() };
}

describe('a new generation', () => {
  test('is refused to administrators, after another one, and while a target waits for the keys of now', async () => {
    const admin = await appliance.addPerson('admin');
    expect((await admin.call('POST', '/keys/rekey', { follows: 1, reason: 'Why not' })).status).toBe(403);
    expect((await rekey(2)).status).toBe(409);
    await expectStatus(
      appliance.console.call('POST', `/recovery-kits/${appliance.kit.id}/retire`, { reason: 'Lost' }),
      204,
    );

    const waiting = await rekey(1);

    expect(waiting).toMatchObject({ status: 409, body: { error: { code: 'wrong_state' } } });
    await queueKeys();
    expect(await appliance.performRun()).toMatchObject({ kind: 'publish-keys', state: 'succeeded' });
    expect((await appliance.deps.keys.status()).repository.generation).toBe(1);
  });

  test('is made once, and the register says what each kit opens', async () => {
    expect((await rekey(1)).body).toEqual({ generation: 2 });
    expect((await rekey(1)).status).toBe(409);

    const { body } = await appliance.console.call<{ kits: { id: string }[] }>('GET', '/keys/register');
    expect(body).toMatchObject({
      generations: [{ generation: 1 }, { generation: 2 }],
      testIdentity: { kept: true, opens: 'everything' },
    });
    const kits = Object.fromEntries(body.kits.map((kit) => [kit.id, kit]));
    expect(kits[appliance.kit.id]).toMatchObject({ state: 'retired', opens: 'part', generations: [1] });
    expect(kits[stays.id]).toMatchObject({ state: 'proven', opens: 'everything', generations: [1, 2] });
  });

  test('reaches every target, also when the run is killed at each of its steps, and one that is away later', async () => {
    await second.away();
    for (const point of CRASH_POINTS) {
      await queueKeys();
      expect(await killRunAt(appliance, point)).toMatchObject({ signal: 'SIGKILL' });
      expect(await verifyByKit({ ...appliance, kit: stays }, appliance.targetPath)).toEqual([1]);
    }
    await queueKeys();
    expect(await appliance.performRun()).toMatchObject({ kind: 'publish-keys', state: 'partial' });
    await second.back();
    // Written to before it was given the keys: it is given them first.
    appliance.clock.offsetMs = 0;
    fresh = await appliance.takeSnapshot();

    for (const path of [appliance.targetPath, second.path]) {
      expect(await verifyByKit({ ...appliance, kit: stays }, path)).toEqual([1, 2]);
      const keys = await readdir(join(path, 'keys'));
      expect(keys.filter((name) => name.startsWith('2-'))).toHaveLength(1);
    }
    await queueKeys();
    await expect(appliance.performRun()).rejects.toThrow('no run is queued');
    appliance.clock.offsetMs = 0;
  });

  test('stores everything once more, and after that only what is new', async () => {
    const next = await appliance.takeSnapshot();

    expect(await storedBytes(fresh)).toBeGreaterThan(2_500_000);
    expect(await storedBytes(next)).toBeLessThan((await storedBytes(fresh)) / 2);
  });

  test('is closed to the retired kit, which still opens what was written before', async () => {
    await withKit(appliance.kit, appliance.targetPath, async (repository) => {
      expect(repository.keys.generations.map((one) => one.generation)).toEqual([1]);
      expect((await repository.findSnapshot(old)).number).toBe(1);
      await expect(repository.findSnapshot(fresh)).rejects.toMatchObject({
        code: 'wrong_key',
        message: expect.stringContaining("another generation of the repository's keys than 1,") as string,
        hint: expect.stringContaining('Take a recovery kit that was in use') as string,
      });
      expect(repository.warnings.map((one) => one.message).join(' ')).toContain(
        "opens generation 1 of the repository's keys, and not 2",
      );
    });
    await withKit(stays, appliance.targetPath, async (repository) => {
      expect((await repository.findSnapshot(old)).generation).toBe(1);
      expect((await repository.findSnapshot(fresh)).generation).toBe(2);
    });
  });

  test('and the one before pass restore tests, by the test identity and by a kit', async () => {
    const by = { ...appliance, kit: stays };
    for (const snapshotId of [old, fresh]) {
      for (const keySource of ['test-identity', 'recovery-kit'] as const) {
        const lent = keySource === 'recovery-kit' ? { lent: await lendFromKit(by) } : {};
        await expectStatus(
          appliance.owner.call('POST', '/restore-tests', {
            ...{ snapshotId, targetId: appliance.targetId, mode: 'quick', keySource, ...lent },
          }),
          202,
        );
        const run = await appliance.performRun();
        // The older copy may be too old for what is due now: its content is what counts here.
        expect(run.result, `${keySource} ${snapshotId}`).toMatchObject({ state: 'passed' });
      }
    }
  });

  test('is known to whoever recovers: the keyring on each target has all of them', async () => {
    for (const path of [appliance.targetPath, second.path]) {
      const { repository } = await openKeyring(path, stays);

      expect(repository?.claim).toMatchObject({ generation: 2, earlier: [{ generation: 1 }] });
    }
  });

  test('is closed to the retired kit also by what a keyring of then holds: the test identity is another one', async () => {
    const identity = stolen.repository?.claim?.testIdentity ?? '';
    const before = await openedBy(second.path, [appliance.kit.identity, identity]);

    expect(before).toContainEqual(expect.stringMatching(/^keys\/1-/));
    expect(before.filter((name) => name.startsWith('keys/2-'))).toEqual([]);
    await expect(
      withKit(appliance.kit, appliance.targetPath, (repository) => openKeyringOf(repository)),
    ).rejects.toMatchObject({
      code: 'wrong_key',
      message: 'This recovery kit does not open the newest keyring: it was retired',
    });
  });

  test('and the one before come back without Holdfast', async () => {
    const top = dirname(appliance.targetPath);
    const kitPath = join(top, 'kit.json');
    const kit = makeRecoveryKit({
      ...{ kitId: stays.id, repositoryId: stays.repositoryId, trustRoot: stays.trustRoot },
      ...{ applianceName: 'Testbed', createdAt: '2026-01-01T00:00:00Z', ageIdentity: stays.identity },
      targets: [],
    });
    await writeFile(kitPath, kitToJson(kit));
    const python = tool('python3');
    const script = join(import.meta.dirname, '../../server/backups/kit-restore.py');
    const path = [dirname(tool('age').path), dirname(tool('zstd').path), '/usr/bin', '/bin'].join(':');
    for (const number of ['1', '2']) {
      const to = join(top, `by-script-${number}`);
      const args = ['-B', script, '--target', appliance.targetPath, '--kit', kitPath];
      const done = spawnSync(python.path, [...args, 'files', number, '--to', to], {
        ...{ encoding: 'utf8', env: { ...python.env, PATH: path } },
      });
      expect(done, done.stderr).toMatchObject({ status: 0 });
      const names = await readdir(to, { recursive: true });
      for (const [name, content] of appliance.files) {
        const found = names.find((one) => one.endsWith(name)) ?? '';
        expect((await readFile(join(to, found))).equals(content), name).toBe(true);
      }
    }
  });

  test('can be looked into, by a process that began before it too', async () => {
    vi.stubEnv('HOLDFAST_DATA', appliance.dataDir);
    const browser = createSnapshotBrowser({ keys: appliance.deps.keys, log: createLog('silent', 'test') });
    try {
      const list = (snapshotId: string) =>
        browser.list({
          ...{ snapshotId, target: { kind: 'directory', path: second.path } },
          folderId: appliance.rootFolderId,
        });
      expect((await list(fresh)).nodes).toHaveLength(appliance.files.size);
      await appliance.deps.keys.rekeyRepository(2);
      await appliance.upload('third generation', Buffer.from('new'));

      const third = await appliance.takeSnapshot();

      expect((await list(third)).nodes).toHaveLength(appliance.files.size);
    } finally {
      await browser.stop();
      vi.unstubAllEnvs();
    }
  });

  test('is on a target that is added afterwards, with all others', async () => {
    const added = await addSecondTarget(appliance, 'added');

    await appliance.takeSnapshot();

    expect(await verifyByKit({ ...appliance, kit: stays }, added.path)).toEqual([5]);
    const generations = (await readdir(join(added.path, 'keys'))).map((name) => name.split('-')[0]);
    expect([...new Set(generations)].sort()).toEqual(['1', '2', '3']);
  });

  test('that keyd made before a crash is written down afterwards; kits that come later open all of them', async () => {
    await appliance.deps.keys.rekeyRepository(3);
    await settleKeyRegister(appliance.deps);

    const later = await proveTestKit(appliance.owner);

    const { body } = await appliance.console.call<{ kits: { id: string }[] }>('GET', '/keys/register');
    expect(body.kits.find((kit) => kit.id === later.id)).toMatchObject({
      ...{ opens: 'everything', generations: [1, 2, 3, 4] },
    });
    await queueKeys();
    expect(await appliance.performRun()).toMatchObject({ kind: 'publish-keys', state: 'succeeded' });
    expect(await verifyByKit({ ...appliance, kit: later }, second.path)).toEqual([1, 2, 3, 4, 5]);
    appliance.clock.offsetMs = 0;
  });
});

describe('an appliance', () => {
  test('writes to its own recipients, whatever keys somebody with the root of then signed for it', async () => {
    const { repository } = stolen;
    const own = await withKit(stays, appliance.targetPath, async ({ keys }) => keys.generations.at(-1));
    if (repository?.claim == null || own === undefined) throw new Error('there is no keyring');
    const evil = await generateAgeIdentity();
    const forged = await buildKeysObject(
      {
        ...{ repositoryId: stays.repositoryId, generation: own.generation, ...evil },
        kits: [{ id: stays.id, recipient: await ageRecipientOf(stays.identity) }],
        ...{ testRecipient: repository.claim.testRecipient ?? '', chunking: own.chunking },
        chunkIdSecret: Buffer.alloc(32, 1).toString('base64'),
        signingKeys: [...repository.claim.signingKeys, signingKeyOf(createSigningKey())],
        createdAt: new Date().toISOString(),
      },
      trustRootOf(repository),
    );
    await writeFile(join(second.path, forged.name), forged.bytes);
    await appliance.upload('for nobody else', Buffer.from('secret'));

    const run = await trySnapshot(appliance);

    expect(run.state).toBe('succeeded');
    expect(await openedBy(second.path, [evil.identity])).toEqual([]);
    await rm(join(second.path, forged.name));
  });

  test('that goes on from a state before the re-keying does not write to a target that has seen it', async () => {
    const { keyring } = dataPaths(appliance.dataDir);
    const kept = `${keyring}-before`;
    await appliance.killKeyd();
    await cp(keyring, kept, { recursive: true });
    let keyd = await startTestKeyd(appliance.dataDir);
    await appliance.deps.keys.rekeyRepository(4);
    await appliance.takeSnapshot();
    await keyd.kill('SIGKILL');
    await rm(keyring, { recursive: true });
    await cp(kept, keyring, { recursive: true });
    keyd = await startTestKeyd(appliance.dataDir);
    // As a recovery leaves it: what is there is taken over at first sight.
    await appliance.deps.db.updateTable('targets').set({ unseen_since_recovery: true }).execute();
    const before = await objectsBelow(second.path);

    await queueKeys();
    const run = await appliance.performRun();

    expect(run.state).toBe('failed');
    expect(run.error?.message).toContain('has a newer generation of keys than this appliance knows');
    const written = (await objectsBelow(second.path)).filter((name) => !before.includes(name));
    expect(written.filter((name) => !name.startsWith('writers/'))).toEqual([]);
    await keyd.kill('SIGTERM');
  });
});
