/** The API of the machine: the real server, the real hostd application on a real socket, a disk in an image file. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildHostApp } from '../../../server/appliance/host/host-app.ts';
import { powerRoutes } from '../../../server/appliance/host/power-routes.ts';
import { collectHostSupport } from '../../../server/appliance/host/support.ts';
import type { HostState } from '../../../server/appliance/host/schema.ts';
import { supportRoutes } from '../../../server/appliance/host/support.ts';
import { findVolume, makeVolume } from '../../../server/appliance/host/unlock/volume.ts';
import { volumeRoutes } from '../../../server/appliance/host/volume/routes.ts';
import { enterHostActs } from '../../../server/appliance/index.ts';
import { buildApp } from '../../../server/app.ts';
import { makeCheckpoint } from '../../../server/audit/index.ts';
import { makeVolumeRecoveryKey } from '../../../server/lib/volume-recovery-key.ts';
import {
  expectStatus,
  proveTestKit,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../../helpers/appliance.ts';
import { makeImageMachine, PASSPHRASE, type ImageMachine } from './image-machine.ts';

const HOOK = Symbol.for('holdfast.crashPoint');

let machine: ImageMachine;
let hostd: FastifyInstance;
let appliance: TestAppliance;
let owner: TestCaller;
const switched: string[] = [];

beforeAll(async () => {
  [machine, appliance] = await Promise.all([makeImageMachine(), startTestAppliance()]);
  await machine.addDisk('disk');
  const choice = await findVolume(machine.deps);
  if (choice.kind !== 'blank') throw new Error('the disk should be blank');
  await makeVolume(machine.deps, choice.disk);
  hostd = await buildHostApp(machine.deps, [
    volumeRoutes(machine.deps),
    powerRoutes({ ...machine.deps, power: async (action) => void switched.push(action) }),
    supportRoutes(machine.deps),
  ]);
  owner = await appliance.claim();
}, 120_000);
afterAll(async () => {
  await appliance.close();
  await hostd.close();
  await machine.close();
});

async function actions(prefix: string) {
  const { body } = await appliance.console.call<{
    items: { action: string; actorId: string | null; detail: Record<string, unknown> }[];
  }>('GET', `/audit?limit=100&action=${prefix}`);
  return body.items;
}

describe('without hostd', () => {
  test('every route of the machine says that this is no machine image', async () => {
    for (const [method, path, body] of [
      ['GET', '/host', undefined],
      [
        'POST',
        '/host/claim-volume',
        { recoveryKey: makeVolumeRecoveryKey(), daily: { kind: 'tpm2', label: 'TPM' } },
      ],
      ['POST', '/host/power', { action: 'restart' }],
    ] as const) {
      const reply = await owner.call(method, path, body);
      expect(reply.status).toBe(409);
      expect(JSON.stringify(reply.body)).toContain('does not run on its own machine image');
    }
    expect((await owner.call('GET', '/setup')).body.machine).toBeUndefined();
  });

  test('a support bundle tells of the application alone', async () => {
    const bundle = await expectStatus(owner.call('POST', '/host/support-bundle', {}), 200);
    expect(bundle).toMatchObject({ product: 'holdfast' });
    expect(bundle.machine).toBeUndefined();
  });
});

describe('with hostd', () => {
  const recoveryKey = makeVolumeRecoveryKey();

  beforeAll(async () => {
    const socket = join(machine.places.run, 'host.sock');
    await hostd.listen({ path: socket });
    appliance.deps.config.hostSocket = socket;
  });

  test('browsers are not told to refuse the unlock page, whose certificate nobody signed', async () => {
    const insists = async (hostSocket: string | undefined) => {
      const { deps } = appliance;
      const app = await buildApp({ ...deps, config: { ...deps.config, hostSocket } });
      const { headers } = await app.inject({ path: '/api/v1/setup' });
      await app.close();
      return headers['strict-transport-security'];
    };

    expect(await insists(undefined)).toMatch(/^max-age=31536000/);
    expect(await insists(appliance.deps.config.hostSocket)).toBeUndefined();
  });

  test('what the machine did before the server came is entered once, though the server was killed in between', async () => {
    const before = (await machine.deps.journal.list()).length;
    expect(before).toBeGreaterThan(0);
    const globals = globalThis as Record<symbol, unknown>;
    globals[HOOK] = (name: string) => {
      if (name === 'appliance.host-acts.committed') throw new Error('killed');
    };
    await expect(enterHostActs(appliance.deps)).rejects.toThrow('killed');
    delete globals[HOOK];
    expect(await machine.deps.journal.list()).toHaveLength(before);

    await enterHostActs(appliance.deps);
    await enterHostActs(appliance.deps);

    expect(await machine.deps.journal.list()).toEqual([]);
    const entries = await actions('host.volume.formatted');
    expect(entries).toHaveLength(1);
    expect(entries[0]?.detail.happenedAt).toMatch(/^\d{4}-/);
  });

  test('no kit is proven while a restart would empty the volume, and the wizard is told', async () => {
    const setup = await owner.call<{ machine: unknown }>('GET', '/setup');
    expect(setup.body.machine).toMatchObject({ volumeUnclaimed: true });

    await expect(proveTestKit(owner)).rejects.toThrow(/409.*no owner yet/);
  });

  test('a claim with half of what is needed is refused, and the volume stays as it is', async () => {
    const daily = { kind: 'passphrase', label: 'Daily', secret: PASSPHRASE };
    for (const body of [
      { recoveryKey },
      { daily },
      { recoveryKey: 'x'.repeat(60), daily },
      { recoveryKey, daily: { kind: 'passphrase', label: 'Daily', secret: 'too short' } },
      { recoveryKey, daily: { kind: 'recovery-key', label: 'Daily', secret: makeVolumeRecoveryKey() } },
    ])
      expect((await owner.call('POST', '/host/claim-volume', body)).status).toBe(400);
    const state = await owner.call<HostState>('GET', '/host');
    expect(state.body).toMatchObject({ volume: { state: 'unclaimed' }, ways: [] });
  });

  test('the claim gives the volume its ways; the kit can then be proven', async () => {
    const claimed = await owner.call('POST', '/host/claim-volume', {
      recoveryKey,
      daily: { kind: 'passphrase', label: 'Daily', secret: PASSPHRASE },
    });

    expect(claimed.status).toBe(201);
    const state = await expectStatus(owner.call<HostState>('GET', '/host'), 200);
    expect(state).toMatchObject({ volume: { state: 'open', unknownKeyslots: [], lostWays: [] } });
    expect(state.ways.map((way) => way.kind)).toEqual(['recovery-key', 'passphrase']);
    expect(JSON.stringify(state)).not.toMatch(/wrapped|salt|sealed/);
    await proveTestKit(owner);
    expect((await actions('host.volume.claimed'))[0]).toMatchObject({
      actorId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    });
  });

  test('after data that came back by themselves the audit log goes on under another id, and after other acts under its own', async () => {
    const { db, clock, keys } = appliance.deps;
    const known = await makeCheckpoint({ db, clock, keys });
    const learnOf = async (action: string) => {
      const act = { action, objectType: 'set-back', objectId: 'abc', result: 'failed' as const };
      await machine.deps.journal.append({ kind: 'system', label: 'set-back' }, act);
      await enterHostActs(appliance.deps);
      return makeCheckpoint({ db, clock, keys });
    };

    expect((await learnOf('host.set-back.begun')).origin).toBe(known.origin);
    const after = await learnOf('host.set-back.failed');

    expect(after.origin).not.toBe(known.origin);
    expect(await actions('audit.log.continued')).toMatchObject([
      { objectId: after.origin, detail: { before: known.origin } },
    ]);
  });

  test('ways are added, renamed, tested and removed, each with its entry; the last of a kind is not removed', async () => {
    const added = await expectStatus(
      owner.call<{ id: string }>('POST', '/host/ways', {
        way: { kind: 'passphrase', label: 'Second', secret: 'seven boats under a green moon' },
        openedBy: PASSPHRASE,
      }),
      201,
    );
    const at = `/host/ways/${added.id}`;
    await expectStatus(owner.call('PATCH', at, { label: 'Night shift' }), 200);
    await expectStatus(owner.call('POST', `${at}/test`, { secret: 'seven boats under a green moon' }), 200);
    expect((await owner.call('POST', `${at}/test`, { secret: 'something else' })).status).toBe(400);
    await expectStatus(owner.call('DELETE', at), 204);
    const { ways } = (await owner.call<HostState>('GET', '/host')).body;
    expect((await owner.call('DELETE', `/host/ways/${ways[0]?.id ?? ''}`)).status).toBe(409);

    expect((await actions('host.way.')).map((entry) => entry.action).reverse()).toEqual([
      'host.way.added',
      'host.way.renamed',
      'host.way.tested',
      'host.way.tested',
      'host.way.removed',
    ]);
  }, 120_000);

  test('a restart is asked for by administrators only, and entered before it happens', async () => {
    const auditor = await appliance.addPerson('auditor');
    expect((await auditor.call('POST', '/host/power', { action: 'restart' })).status).toBe(403);
    expect((await owner.call('POST', '/host/power', { action: 'format' })).status).toBe(400);
    expect(switched).toEqual([]);

    expect((await owner.call('POST', '/host/power', { action: 'restart' })).status).toBe(202);

    expect(switched).toEqual(['restart']);
    expect(await actions('host.power.restarted')).toHaveLength(1);
  });

  test('a support bundle holds neither secrets nor people nor content', async () => {
    const canaries = [
      PASSPHRASE,
      recoveryKey,
      'ada@example.org',
      '198.51.100.77',
      '2001:db8::77',
      'canary-password',
      `AGE-SECRET-KEY-1${'Q'.repeat(58)}`,
      'canary-cookie-value',
    ];
    const lines = [
      `2026-11-22T00:00:00+00:00 vault node[1]: {"level":"info","time":"x","component":"server","msg":"Signed in ada@example.org from 198.51.100.77","password":"canary-password","req":{"headers":{"cookie":"canary-cookie-value"}}}`,
      `2026-11-22T00:00:00+00:00 vault node[1]: key ${recoveryKey} passphrase: ${PASSPHRASE.replaceAll(' ', '_')} from 2001:db8::77`,
      `2026-11-22T00:00:00+00:00 vault node[1]: AGE-SECRET-KEY-1${'Q'.repeat(58)} password=canary-password`,
    ];

    const machinePart = await collectHostSupport(machine.deps, async () => lines);
    const bundle = await expectStatus(owner.call('POST', '/host/support-bundle', {}), 200);

    const text = JSON.stringify([machinePart, bundle]);
    for (const canary of [...canaries, PASSPHRASE.replaceAll(' ', '_')]) expect(text).not.toContain(canary);
    expect(text).not.toMatch(/Ada|Lovelace/);
    expect(machinePart.log[0]).toContain('"component":"server"');
    const ways = await readFile(join(machine.places.state, 'unlock', 'ways.json'), 'utf8');
    for (const [, wrapped = ''] of ways.matchAll(/"wrappedRootKey": "([^"]+)"/g))
      expect(text).not.toContain(wrapped);
    expect(await actions('host.support-bundle.made')).not.toHaveLength(0);
  });
});
