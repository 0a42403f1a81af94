/** Recovery in the first run, as the API lets people reach it: the real server, the real application of hostd, refusals before anything. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { generateAgeIdentity, kitToJson, makeRecoveryKit } from '../../server/keys/index.ts';
import { makeVolumeRecoveryKey } from '../../server/lib/volume-recovery-key.ts';
import { startTestAppliance, type TestAppliance } from '../helpers/appliance.ts';
import { startBlankMachine, type BlankMachine } from './host/blank-machine.ts';

const WRONG_CODE = '0000-0000-0000-0000';
const ID = '00000000-0000-4000-8000-000000000000';
const daily = { kind: 'passphrase', secret: 'four copper kettles sing' };

let top: string;
let place: { kind: 'directory'; path: string };
let machine: BlankMachine;
let appliance: TestAppliance;
let kit: string;
let kitWithoutVolumeKey: string;

beforeAll(async () => {
  top = await mkdtemp(join(tmpdir(), 'holdfast-recovery-api-'));
  place = { kind: 'directory', path: join(top, 'empty') };
  await mkdir(place.path);
  const { identity } = await generateAgeIdentity();
  const parts = {
    ...{ kitId: ID, applianceName: 'Nowhere', createdAt: '2026-01-01T00:00:00.000Z', repositoryId: ID },
    ...{ trustRoot: Buffer.alloc(32, 1).toString('base64'), ageIdentity: identity, targets: [] },
  };
  kit = kitToJson(makeRecoveryKit({ ...parts, volumeRecoveryKey: makeVolumeRecoveryKey() }));
  kitWithoutVolumeKey = kitToJson(makeRecoveryKit(parts));
  machine = await startBlankMachine([top]);
}, 120_000);
afterAll(async () => {
  await machine.close();
  await rm(top, { recursive: true, force: true });
});
beforeEach(async () => {
  appliance = await startTestAppliance();
  appliance.deps.config.hostSocket = machine.socket;
}, 60_000);
afterEach(() => appliance.close());

const look = (body: object = {}) =>
  appliance.stranger.call('POST', '/setup/recovery/look', { code: appliance.claimCode, place, ...body });
const start = (body: object = {}) =>
  appliance.stranger.call('POST', '/setup/recovery', {
    ...{ code: appliance.claimCode, place, kit, snapshot: 'ab'.repeat(32), oldMachineIsOff: true, daily },
    ...body,
  });

describe('refused:', () => {
  afterEach(() => {
    expect(machine.acts).toEqual([]);
  });

  test('a wrong claim code, which counts as one at the claim does, and is in the audit log', async () => {
    for (const reply of [await look({ code: WRONG_CODE }), await start({ code: WRONG_CODE })]) {
      expect(reply.status).toBe(403);
      expect(reply.body).toMatchObject({ error: { message: 'The claim code is wrong or has expired' } });
    }
    const { body } = await appliance.console.call<{ items: unknown[] }>(
      'GET',
      '/audit?action=appliance.claim.refused',
    );
    expect(body.items).toHaveLength(2);
  });

  test('wrong codes again and again, and then the right one too', async () => {
    let last = 0;
    for (let attempts = 0; attempts < 30 && last !== 429; attempts++)
      last = (await look({ code: WRONG_CODE })).status;

    expect(last).toBe(429);
    expect((await look()).status).toBe(429);
    expect((await start()).status).toBe(429);
  });

  test('everybody, once the appliance has an owner; the owner too', async () => {
    const owner = await appliance.claim();

    for (const caller of [appliance.stranger, owner]) {
      expect((await caller.call('GET', '/setup/recovery')).status).toBe(409);
      for (const path of ['/setup/recovery', '/setup/recovery/look'])
        expect((await caller.call('POST', path, { code: appliance.claimCode, place })).status).toBe(409);
    }
  });

  test('only the secret key of a kit, something else, and a kit without a key for the volume', async () => {
    const { ageIdentity } = JSON.parse(kit) as { ageIdentity: string };
    for (const [wrong, words] of [
      [ageIdentity, /only the secret key/],
      ['a long text that is no recovery kit at all', /cannot be read/],
      [kitWithoutVolumeKey, /no key for the data volume/],
    ] as const) {
      const reply = await start({ kit: wrong });
      expect(reply.status).toBe(400);
      expect(JSON.stringify(reply.body)).toMatch(words);
      expect(JSON.stringify(reply.body)).not.toContain(ageIdentity);
    }
  });

  test('what is too long, not a place, not known, or not agreed to', async () => {
    for (const body of [
      { place: { kind: 'directory', path: `/${'x'.repeat(2_000)}` } },
      { place: { kind: 'directory', path: 'relative' } },
      { place: { kind: 'nfs', server: 'nas', export: '/a,rw' } },
      { place: { kind: 's3', bucket: 'x' } },
      { kit: 'x'.repeat(70_000) },
      { snapshot: 'latest' },
      { oldMachineIsOff: false },
      { oldMachineIsOff: undefined },
      { beside: true },
      { oldMachineIsOff: undefined, beside: false },
      { daily: { kind: 'passphrase', secret: 'short' } },
      { daily: { kind: 'recovery-key', secret: makeVolumeRecoveryKey() } },
      { actor: { kind: 'system' } },
    ]) {
      expect((await start(body)).status, JSON.stringify(body).slice(0, 80)).toBe(400);
    }
  });

  test('a folder without backups', async () => {
    const reply = await look();

    expect(reply.status).toBe(503);
    expect(reply.body).toMatchObject({ error: { code: 'no_repository' } });
  });
});

test('the machine says that it can, without a code, and nothing of what it holds', async () => {
  const reply = await appliance.stranger.call('GET', '/setup/recovery');

  expect(reply.body).toEqual({
    machine: true,
    tpm: expect.any(Boolean) as boolean,
    status: expect.objectContaining({ state: 'none', problem: null }) as object,
  });
});

test('without hostd the page is told that the command does it, and the rest answers so', async () => {
  appliance.deps.config.hostSocket = undefined;

  expect((await appliance.stranger.call('GET', '/setup/recovery')).body).toMatchObject({ machine: false });
  for (const reply of [await look(), await start()]) {
    expect(reply.status).toBe(409);
    expect(JSON.stringify(reply.body)).toContain('does not run on its own machine image');
  }
});
