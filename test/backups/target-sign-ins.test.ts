/** Who may use which key, what a target believes when two change it at once, and where trials may go. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { MadeKey, TargetProbe, TargetReply } from '../../server/backups/schema.ts';
import { expireSignIns } from '../../server/backups/index.ts';
import { TRIAL_TURNS } from '../../server/backups/trial-turns.ts';
import {
  expectStatus,
  proveTestKit,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
} from '../helpers/appliance.ts';
import { startPasswordServer, startSftpServer, type SftpServer } from '../helpers/sftp-server.ts';
import { openTcpLine } from '../helpers/tcp-line.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

const DAY_MS = 86_400_000;
let appliance: TestAppliance;
let owner: TestCaller;
let admin: TestCaller;
let server: SftpServer;
let folder: string;

beforeAll(async () => {
  vi.stubEnv('HOLDFAST_OWN_MACHINE', 'allow');
  [appliance, server] = await Promise.all([startTestAppliance(), startSftpServer()]);
  owner = await appliance.claim();
  await proveTestKit(owner);
  admin = await appliance.addPerson('owner');
  folder = await server.makeFolder('repository');
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await appliance.close();
  await server.stop();
});

const makeKey = (who: TestCaller) => expectStatus(who.call<MadeKey>('POST', '/targets/keys'), 201);

function request(change: object = {}) {
  const { port, username, hostKey } = server;
  return {
    ...{ name: 'vault', kind: 'sftp', region: 'eu-north', host: '127.0.0.1', port, username, path: folder },
    ...{ fingerprint: hostKey.fingerprint, signIn: { kind: 'private-key', privateKey: server.privateKey } },
    ...change,
  };
}

const withKey = (keyId: string) => request({ signIn: { kind: 'made-key', keyId } });
const signIns = () => appliance.deps.db.selectFrom('target_sign_ins').select('id').execute();
const later = (ms: number) => (appliance.clock.offsetMs += ms);

async function add(wanted = request()): Promise<TargetReply> {
  return expectStatus(owner.call<TargetReply>('POST', '/targets', wanted), 201);
}

const retire = (id: string) => expectStatus(owner.call('POST', `/targets/${id}/retire`), 200);

describe('a key that the appliance made', () => {
  test('is of use to who made it alone, until a target signs in by it', async () => {
    const made = await makeKey(owner);
    await server.authorize(made.publicKey);

    const other = await admin.call('POST', '/targets/probe', withKey(made.id));
    const atTheMachine = await appliance.console.call('POST', '/targets/probe', withKey(made.id));
    const own = await expectStatus(owner.call<TargetProbe>('POST', '/targets/probe', withKey(made.id)), 200);

    expect([other.status, atTheMachine.status]).toEqual([404, 404]);
    expect(own.ok).toBe(true);

    const target = await add(withKey(made.id));
    const elsewhere = await owner.call('POST', '/targets/probe', withKey(made.id));
    expect(elsewhere.status).toBe(404);
    const again = { signIn: { kind: 'made-key', keyId: made.id } };
    await expectStatus(admin.call('PUT', `/targets/${target.id}/sign-in`, again), 200);
    const probe = await expectStatus(owner.call<TargetProbe>('POST', `/targets/${target.id}/probe`), 200);
    expect(probe.ok).toBe(true);
    await retire(target.id);
  });

  test('is of no use after a week, and goes', async () => {
    const made = await makeKey(owner);
    later(7 * DAY_MS + 1_000);
    owner = await appliance.signIn('ada@example.org', 'copper kettle sings 7');
    admin = await appliance.addPerson('owner');

    expect((await owner.call('POST', '/targets/probe', withKey(made.id))).status).toBe(404);

    const fresh = await makeKey(owner);
    await expireSignIns(appliance.deps);
    expect(await signIns()).toEqual([{ id: fresh.id }]);
  });
});

describe('what is kept of a sign-in', () => {
  test('a change takes only the one before away, and retiring the last', async () => {
    const others = await makeKey(admin);
    const target = await add();
    const password = { signIn: { kind: 'private-key', privateKey: server.privateKey } };
    const before = (await signIns()).length;

    await expectStatus(owner.call('PUT', `/targets/${target.id}/sign-in`, password), 200);
    const afterChange = await signIns();
    await retire(target.id);
    const afterRetiring = await signIns();

    expect(afterChange).toHaveLength(before);
    expect(afterRetiring).toHaveLength(before - 1);
    expect(afterRetiring).toContainEqual({ id: others.id });
    const shown = await expectStatus(owner.call<TargetReply>('GET', `/targets/${target.id}`), 200);
    expect(shown.sftp).toMatchObject({ signsInBy: null, publicKey: null });
    expect((await owner.call('POST', `/targets/${target.id}/probe`)).status).toBe(409);
  });
});

describe('a change of the sign-in', () => {
  test('that began before an owner accepted another host key does not undo that', async () => {
    const top = await mkdtemp(join(tmpdir(), 'holdfast-sign-ins-'));
    await mkdir(join(top, 'empty'));
    let asked = 0;
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    // The second sign-in, which is the one of the change, is held back at the server.
    const hold = { from: Infinity };
    const one = await startPasswordServer('vault', 'horse', () =>
      ++asked > hold.from ? gate : Promise.resolve(),
    );
    const two = await startPasswordServer('vault', 'horse');
    const line = await openTcpLine(one.port);
    try {
      const target = await add(
        request({
          ...{ port: line.port, username: 'vault', path: join(top, 'empty') },
          ...{ fingerprint: one.hostKey.fingerprint, signIn: { kind: 'password', password: 'horse' } },
        }),
      );
      hold.from = asked;
      const change = owner.call('PUT', `/targets/${target.id}/sign-in`, {
        signIn: { kind: 'password', password: 'horse' },
      });
      await vi.waitFor(() => expect(asked).toBeGreaterThan(hold.from), 20_000);
      line.to(two.port);
      const { fingerprint } = two.hostKey;
      await expectStatus(owner.call('PUT', `/targets/${target.id}/host-key`, { fingerprint }), 200);
      release();

      expect((await change).status).toBe(409);

      const shown = await expectStatus(owner.call<TargetReply>('GET', `/targets/${target.id}`), 200);
      expect(shown.sftp?.hostKey.fingerprint).toBe(fingerprint);
      await retire(target.id);
    } finally {
      release();
      line.close();
      await Promise.all([one.stop(), two.stop()]);
      await rm(top, { recursive: true });
    }
  });
});

describe('a host key of another kind', () => {
  test('is shown by a trial when the server has none of the kind before, and an owner accepts it', async () => {
    const other = await startPasswordServer('vault', 'horse');
    const line = await openTcpLine(server.port);
    const target = await add(request({ port: line.port }));
    line.to(other.port);

    const found = await expectStatus(owner.call<TargetProbe>('POST', `/targets/${target.id}/probe`), 200);

    expect(server.hostKey.type).not.toBe(other.hostKey.type);
    expect(found).toMatchObject({ ok: false, hostKey: { ...other.hostKey, confirmed: false } });
    const { fingerprint } = other.hostKey;
    const path = `/targets/${target.id}/host-key`;
    const accepted = await expectStatus(owner.call<TargetReply>('PUT', path, { fingerprint }), 200);
    expect(accepted).toMatchObject({ lastError: null, sftp: { hostKey: other.hostKey } });
    await retire(target.id);
    line.close();
    await other.stop();
  });
});

describe('a trial', () => {
  const tried = async () => {
    const { body } = await owner.call<{ items: { action: string; detail: object }[] }>(
      'GET',
      '/audit?action=backups.target.tried&limit=1',
    );
    return body.items[0]?.detail;
  };

  test.each(['127.0.0.1', '0::1', '0.0.0.0', '169.254.169.254', 'fd00:ec2::254', 'localhost'])(
    'does not reach %s unless that is set, and says so',
    async (host) => {
      vi.stubEnv('HOLDFAST_OWN_MACHINE', '');
      try {
        const probe = await expectStatus(
          owner.call<TargetProbe>('POST', '/targets/probe', request({ host })),
          200,
        );

        expect(probe).toMatchObject({ ok: false, checks: [{ name: 'reach', state: 'bad' }] });
        expect(probe.checks[0]?.message).toContain('an address of this machine or of its link');
        expect(probe.hostKey).toBeUndefined();
        expect((await owner.call('POST', '/targets', request({ host }))).status).toBe(400);
      } finally {
        vi.stubEnv('HOLDFAST_OWN_MACHINE', 'allow');
      }
    },
  );

  test('that goes out over the network is in the audit log, whatever came of it', async () => {
    await owner.call('POST', '/targets/probe', request({ host: '127.0.0.1', port: 1 }));

    await vi.waitFor(async () =>
      expect(await tried()).toEqual({ host: '127.0.0.1', port: 1, username: server.username }),
    );
    const target = await add();
    await owner.call('POST', `/targets/${target.id}/probe`);
    const entries = await owner.call<{ items: { action: string }[] }>(
      'GET',
      `/audit?object=${target.id}&action=backups.target.tried`,
    );
    expect(entries.body.items.length).toBeGreaterThan(0);
    await retire(target.id);
  });

  test('is refused to who tries without end, and to nobody else', async () => {
    const statuses: number[] = [];
    for (let turn = 0; turn <= TRIAL_TURNS.most; turn++) {
      const { status } = await admin.call('POST', '/targets/probe', request({ port: 1 }));
      statuses.push(status);
    }

    expect(statuses.at(-1)).toBe(429);
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(TRIAL_TURNS.most / 2);
    expect((await admin.call('POST', '/targets/keys')).status).toBe(429);
    expect((await owner.call('POST', '/targets/probe', request())).status).toBe(200);
    later(TRIAL_TURNS.windowMs);
    expect((await admin.call('POST', '/targets/probe', request({ port: 1 }))).status).toBe(200);
  });
});
