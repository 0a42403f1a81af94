/** The API of SSH: the real server and its audit log, the real verbs of hostd on a real socket; sshd and account are played. */
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildHostApp, openSshDesk, sshRoutes } from '../../../server/appliance/host/index.ts';
import type { OpenedSsh, SshState } from '../../../server/appliance/host/ssh/schema.ts';
import { writeVolumeNote } from '../../../server/appliance/host/volume/note.ts';
import { currentBanners } from '../../../server/appliance/index.ts';
import {
  expectStatus,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../../helpers/appliance.ts';
import { requireTools } from '../../helpers/tools.ts';
import { makeImageMachine, type ImageMachine } from './image-machine.ts';

const AUTHORITY =
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIQ6Hy54oRCmHQEZF1VS1rfEQTAmXSHPdbKBnZl5xjqM the house';
const OPENING = { authority: AUTHORITY, minutes: 60, reason: 'The updates do not install' };

let machine: ImageMachine;
let hostd: FastifyInstance;
let appliance: TestAppliance;
let owner: TestCaller;
let listening = false;

beforeAll(async () => {
  requireTools('ssh-keygen');
  [machine, appliance] = await Promise.all([makeImageMachine(), startTestAppliance()]);
  await writeVolumeNote(machine.places, {
    ...{ uuid: '0d9c1f4e-7a52-4c34-8f0b-0a1b2c3d4e5f', device: '/dev/vdb', claimed: true },
    ...{ wayId: null, unknownKeyslots: [], lostWays: [] },
  });
  const desk = openSshDesk(machine.deps, {
    service: {
      start: async () => void (listening = true),
      stop: async () => void (listening = false),
      isRunning: async () => listening,
    },
    account: { make: async () => undefined, remove: async () => undefined },
    firewall: async () => undefined,
  });
  hostd = await buildHostApp(machine.deps, [sshRoutes(desk)]);
  owner = await appliance.claim();
}, 120_000);
afterAll(async () => {
  await appliance.close();
  await hostd.close();
  await machine.close();
});

const entries = async () => {
  const { body } = await appliance.console.call<{
    items: { action: string; actorId: string | null; detail: Record<string, unknown> }[];
  }>('GET', '/audit?limit=100&action=host.ssh.');
  return body.items;
};
const banners = async () =>
  (await currentBanners(appliance.deps))
    .filter(({ kind }) => kind === 'ssh-open')
    .map(({ message }) => message);

describe('SSH', () => {
  test('without hostd is refused, as every act on the machine', async () => {
    const reply = await owner.call('POST', '/host/ssh', OPENING);

    expect(reply.status).toBe(409);
    expect(JSON.stringify(reply.body)).toContain('does not run on its own machine image');
    expect(await banners()).toEqual([]);
  });

  test('is opened by the owner only, and by no half-filled request', async () => {
    const socket = join(machine.places.run, 'host.sock');
    await hostd.listen({ path: socket });
    appliance.deps.config.hostSocket = socket;
    const admin = await appliance.addPerson('admin');

    expect((await admin.call('POST', '/host/ssh', OPENING)).status).toBe(403);
    expect((await admin.call('DELETE', '/host/ssh')).status).toBe(403);
    for (const change of [
      { minutes: 5 },
      { reason: 'because' },
      { networks: [] },
      { actor: { kind: 'console' } },
    ])
      expect((await owner.call('POST', '/host/ssh', { ...OPENING, ...change })).status).toBe(400);

    expect(listening).toBe(false);
    expect(await entries()).toEqual([]);
  });

  test('a private key is refused, and no answer repeats it', async () => {
    const pasted =
      '-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0LWtleQ==\n-----END OPENSSH PRIVATE KEY-----\n';

    const reply = await owner.call('POST', '/host/ssh', { ...OPENING, authority: pasted });

    expect(reply.status).toBe(400);
    expect(JSON.stringify(reply.body)).toMatch(/private key/);
    expect(JSON.stringify(reply.body)).not.toContain('c2VjcmV0');
  });

  test('once open it is in the audit log with its reason, every page says so, and the passphrase is said once', async () => {
    const opened = await expectStatus(owner.call<OpenedSsh>('POST', '/host/ssh', OPENING), 201);

    const auditor = await appliance.addPerson('auditor');
    const state = await expectStatus(auditor.call<SshState>('GET', '/host/ssh'), 200);
    expect(state).toEqual(opened.state);
    expect(JSON.stringify(state)).not.toContain(opened.passphrase);
    const until = opened.state.open?.until.slice(0, 16).replace('T', ' ') ?? 'never';
    expect(await banners()).toEqual([`SSH to this machine is open until ${until} UTC.`]);
    const [entry] = await entries();
    expect(entry).toMatchObject({
      action: 'host.ssh.opened',
      actorId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
      detail: { reason: OPENING.reason, until: opened.state.open?.until },
    });
    expect(JSON.stringify(await entries())).not.toContain(opened.passphrase);
  });

  test('the owner closes it, and the banner goes', async () => {
    const state = await expectStatus(owner.call<SshState>('DELETE', '/host/ssh'), 200);

    expect(state.open).toBeNull();
    expect(listening).toBe(false);
    expect(await banners()).toEqual([]);
    expect((await entries()).map(({ action }) => action)).toEqual(['host.ssh.closed', 'host.ssh.opened']);
  });
});
