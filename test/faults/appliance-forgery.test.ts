/** What hostile storage does to an appliance's repository, met by the appliance's own snapshot, verification and restore test. */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeHead } from '../../server/backups/objects/head-object.ts';
import { encodeIndex } from '../../server/backups/objects/index-object.ts';
import { numberedName } from '../../server/backups/objects/object-names.ts';
import {
  ageRecipientOf,
  createLocalRepositoryKeys,
  createSigningKey,
  decryptAge,
  encryptAge,
  generateAgeIdentity,
  signStatement,
} from '../../server/keys/index.ts';
import type { RestoreTest } from '../../server/restore-tests/schema.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

let appliance: StockedAppliance;
let first: string;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  first = await appliance.takeSnapshot();
}, 180_000);

afterAll(async () => {
  await (appliance as StockedAppliance | undefined)?.close();
});

const at = (name: string) => join(appliance.targetPath, name);
const objects = (kind: string) =>
  (existsSync(at(kind)) ? readdirSync(at(kind)) : []).map((name) => `${kind}/${name}`);
const numberOf = (name: string) => Number(/\/(\d+)-/.exec(name)?.[1] ?? 0);
const newest = (kind: string) => objects(kind).sort((a, b) => numberOf(b) - numberOf(a))[0] ?? '';

async function run(path: string, body?: object) {
  await expectStatus(appliance.owner.call('POST', path, body), 202);
  return appliance.performRun();
}
const snapshot = (path = '/snapshots') => run(path);
const verify = () => run('/targets/verify');

const overview = () => expectStatus(appliance.owner.call<{ verdict: string }>('GET', '/overview'), 200);

async function testOf(snapshotId: string): Promise<RestoreTest> {
  const { targetId } = appliance;
  const request = { snapshotId, targetId, mode: 'quick', keySource: 'test-identity' };
  await run('/restore-tests', request);
  const { items } = await expectStatus(
    appliance.owner.call<{ items: RestoreTest[] }>('GET', '/restore-tests'),
    200,
  );
  const [ended] = items;
  if (ended === undefined) throw new Error('there is no restore test');
  return ended;
}

/** The next snapshot, a verification and a restore test of it find nothing wrong. */
async function expectWhole(): Promise<void> {
  const taken = await snapshot();
  expect([taken.state, taken.error]).toEqual(['succeeded', null]);
  expect(await verify()).toMatchObject({ state: 'succeeded', result: { problems: 0 } });
  expect((await testOf(String(taken.result?.snapshotId))).state).toBe('passed');
}

/** Stores an object as someone may who has the public recipient and can write to the target. */
function put(kind: 'index' | 'heads' | 'keys', number: number, stored: Buffer): string {
  const name = numberedName(kind, { number, sha256: createHash('sha256').update(stored).digest('hex') });
  writeFileSync(at(name), stored);
  return name;
}

describe('someone with the public recipients only', () => {
  /** Signs with a key of their own under the id of any key. */
  const forger = () => {
    const { id, privateKey } = createSigningKey();
    return {
      sign: async (statement: Parameters<typeof signStatement>[1]) =>
        signStatement({ id, privateKey }, statement),
    };
  };

  test('who adds a recipient to the public hint gets nothing encrypted to it', async () => {
    const { identity, recipient } = await generateAgeIdentity();
    const hint = JSON.parse(readFileSync(at('HOLDFAST'), 'utf8')) as object;
    writeFileSync(at('HOLDFAST'), JSON.stringify({ ...hint, recipient, recipients: [recipient] }));
    await appliance.upload('after the hint was changed', Buffer.from('secret'));

    await expectWhole();

    const sealed = readdirSync(appliance.targetPath, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.age'),
    );
    for (const name of sealed) {
      await expect(decryptAge(readFileSync(at(name)), [identity])).rejects.toMatchObject({
        code: 'wrong_key',
      });
    }
  }, 180_000);

  test('cannot have an index, a head or keys obeyed; what is forged is named', async () => {
    const repositoryId = appliance.kit.repositoryId;
    const recipient = await ageRecipientOf(appliance.kit.identity);
    const evil = await createLocalRepositoryKeys({ repositoryId });
    const evilKeys = await decryptAge(evil.keysObject.bytes, [evil.kit.identity]);
    const number = numberOf(newest('index')) + 1;
    const index = { number, packs: [], supersedes: objects('index'), removals: [] };
    const forged = [
      put('index', number, await encryptAge(await encodeIndex(repositoryId, index, forger()), [recipient])),
      put('keys', 9, await encryptAge(evilKeys, [recipient])),
      put(
        'heads',
        numberOf(newest('heads')) + 1,
        await encodeHead(
          repositoryId,
          {
            ...{ number: numberOf(newest('heads')) + 1, createdAt: new Date().toISOString(), writer: 99 },
            ...{ previous: null, snapshots: [], indexes: [] },
          } as unknown as Parameters<typeof encodeHead>[1],
          forger(),
        ),
      ),
    ];

    const taken = await snapshot();

    expect([taken.state, taken.error]).toEqual(['succeeded', null]);
    expect(taken.lines.join('\n')).toMatch(/did not sign/);
    expect((await testOf(first)).state).toBe('passed');
    expect(await verify()).toMatchObject({ state: 'failed', error: { code: 'integrity_failure' } });
    for (const name of forged) rmSync(at(name), { force: true });
    await expectWhole();
  }, 180_000);
});

describe('a target that', () => {
  test('lost its newest snapshot object fails the test of it; once that snapshot is forgotten all is whole', async () => {
    const lost = await appliance.takeSnapshot();
    rmSync(at(newest('snapshots')));

    const ended = await testOf(lost);
    const verified = await verify();

    expect(ended.state).toBe('failed');
    expect(ended.checks.find((check) => check.id === 'repository')?.state).toBe('failed');
    expect(verified).toMatchObject({
      state: 'failed',
      error: { code: 'integrity_failure', hint: expect.stringContaining('Forget') as string },
    });
    expect(await overview()).toMatchObject({
      verdict: 'damaged',
      needsYou: expect.arrayContaining([
        expect.objectContaining({ name: 'restore test', state: 'bad' }),
        expect.objectContaining({ name: 'verification', state: 'bad' }),
      ]) as unknown,
    });
    const next = await snapshot();
    expect([next.state, next.error]).toEqual(['succeeded', null]);
    await expectStatus(appliance.owner.call('DELETE', `/snapshots/${lost}`), 202);
    expect((await appliance.performRun()).state).toBe('succeeded');
    await expectWhole();
    expect((await overview()).verdict).not.toBe('damaged');
  }, 180_000);

  test('was put back to an older state stops snapshots until the owner agrees, and fails the restore test', async () => {
    const old = `${appliance.targetPath}-old`;
    cpSync(appliance.targetPath, old, { recursive: true });
    await appliance.upload('newer than the old state', Buffer.from('new'));
    const newer = await appliance.takeSnapshot();
    renameSync(appliance.targetPath, `${appliance.targetPath}-newer`);
    renameSync(old, appliance.targetPath);

    const refused = await snapshot();
    const ended = await testOf(newer);
    const before = await testOf(first);

    expect(refused).toMatchObject({
      state: 'failed',
      error: { code: 'wrong_state', message: expect.stringContaining('older') as string },
    });
    expect(ended.state).toBe('failed');
    expect(ended.checks.find((check) => check.id === 'snapshot')?.state).toBe('failed');
    expect(before.state).toBe('failed');
    expect(before.checks.find((check) => check.id === 'repository')).toMatchObject({
      state: 'failed',
      found: expect.stringContaining('older') as string,
    });
    const agreed = await snapshot('/snapshots?acceptWarnings=true');
    expect([agreed.state, agreed.error]).toEqual(['succeeded', null]);
    await expectWhole();
  }, 180_000);
});
