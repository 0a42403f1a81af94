import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { newClaimCode, claimCodeHash, isClaimCode } from '../../server/appliance/claim-code.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import { OWNER, startTestAppliance, type TestAppliance } from '../helpers/appliance.ts';

let appliance: TestAppliance;
async function start(): Promise<void> {
  appliance = await startTestAppliance();
}

async function countPeople(): Promise<number> {
  const { rows } = await withClient(appliance.database.adminAddress, 'test', (client) =>
    client.query<{ count: string }>('select count(*) from users'),
  );
  return Number(rows[0]?.count);
}

function claimWith(change: Record<string, unknown>) {
  return appliance.stranger.call('POST', '/setup/claim', {
    code: appliance.claimCode,
    owner: OWNER,
    ...change,
  });
}

describe('before the claim, or when it is refused', () => {
  // One for all: none of these changes anything, which is what they show.
  beforeAll(start);
  afterAll(() => appliance.close());

  test('only a hash of the code is stored', async () => {
    const row = await appliance.deps.db.selectFrom('appliance').selectAll().executeTakeFirstOrThrow();
    expect(JSON.stringify(row)).not.toContain(appliance.claimCode);
  });

  test('nothing but the claim answers: other routes ask for a session that nobody can have', async () => {
    for (const path of ['/overview', '/audit', '/workspaces', '/settings/appliance', '/recovery-kits']) {
      expect((await appliance.stranger.call('GET', path)).status).toBe(401);
    }
    expect((await appliance.stranger.call('GET', '/setup')).body).toEqual({
      claimed: false,
      complete: false,
      applianceName: null,
      stage: 'production',
    });
  });

  const refused: [string, Record<string, unknown>, number][] = [
    ['with a wrong code', { code: 'AAAA-AAAA-AAAA-AAAA' }, 403],
    ['without a code', { code: '' }, 400],
    ['with a weak password', { owner: { ...OWNER, password: 'password1' } }, 400],
    ['with a password of 7 bytes', { owner: { ...OWNER, password: 'aB3$xyZ' } }, 400],
    ['with a password of 129 bytes', { owner: { ...OWNER, password: 'x7Kq'.repeat(33) } }, 400],
    ['with an address that is no e-mail', { owner: { ...OWNER, email: 'nobody' } }, 400],
    ['with an empty name', { owner: { ...OWNER, name: '  ' } }, 400],
  ];
  for (const [name, change, status] of refused) {
    test(`a claim ${name} is refused and changes nothing`, async () => {
      const from = { remoteAddress: `192.0.2.${100 + refused.findIndex(([one]) => one === name)}` };
      const reply = await appliance.stranger.call(
        'POST',
        '/setup/claim',
        { code: appliance.claimCode, owner: OWNER, ...change },
        from,
      );

      expect(reply.status).toBe(status);
      expect(await countPeople()).toBe(0);
      expect((await appliance.stranger.call('GET', '/setup')).body.claimed).toBe(false);
    });
  }
});

describe('a claim', () => {
  beforeEach(start);
  afterEach(() => appliance.close());

  test('with the code makes the owner, signs them in, and makes the first workspace', async () => {
    const reply = await claimWith({});

    expect(reply.status).toBe(201);
    expect(reply.body).toMatchObject({
      user: { name: OWNER.name, email: OWNER.email, role: 'owner' },
      idleMinutes: 15,
    });
    expect(reply.headers['set-cookie']).toMatch(
      /^__Host-holdfast=[\w-]{64}; Path=\/; Secure; HttpOnly; SameSite=Strict$/,
    );
    const owner = await appliance.signIn(OWNER.email, OWNER.password);
    expect((await owner.call<{ items: unknown[] }>('GET', '/workspaces')).body.items).toHaveLength(1);
  });

  test('takes the code in any case, with or without its dashes', async () => {
    const typed = appliance.claimCode.toLowerCase().replaceAll('-', ' ');

    expect((await claimWith({ code: typed })).status).toBe(201);
  });

  test('a second one is refused, with the right code too, and a new code cannot be made', async () => {
    await appliance.claim();

    const second = await claimWith({ owner: { ...OWNER, email: 'eve@example.org' } });

    expect(second.status).toBe(409);
    expect(second.body).toMatchObject({ error: { code: 'wrong_state' } });
    expect((await appliance.console.call('POST', '/console/claim-code')).status).toBe(409);
    expect(await countPeople()).toBe(1);
  });

  test('of two at once, one succeeds', async () => {
    const replies = await Promise.all([
      claimWith({ owner: { ...OWNER, email: 'one@example.org' } }),
      claimWith({ owner: { ...OWNER, email: 'two@example.org' } }),
    ]);

    // The loser finds the appliance claimed, or its attempt is held back while the other is weighed.
    const [first, second] = replies.map((reply) => reply.status).sort();
    expect(first).toBe(201);
    expect([409, 429]).toContain(second);
    expect(await countPeople()).toBe(1);
  });

  test('the code ends after 24 hours and when the console makes a new one', async () => {
    appliance.clock.offsetMs += 24 * 3_600_000 + 1;
    expect((await claimWith({})).status).toBe(403);

    const renewed = await appliance.console.call<{ code: string }>('POST', '/console/claim-code');

    expect((await claimWith({})).status).toBe(403);
    expect((await claimWith({ code: renewed.body.code })).status).toBe(201);
  });

  test('guessing codes is slowed down, audited, and does not close the door to others', async () => {
    const from = (remoteAddress: string, code: string) =>
      appliance.stranger.call('POST', '/setup/claim', { code, owner: OWNER }, { remoteAddress });
    for (let guess = 0; guess < 5; guess += 1)
      expect((await from('198.51.100.9', newClaimCode())).status).toBe(403);

    expect((await from('198.51.100.9', appliance.claimCode)).status).toBe(429);
    const audit = await appliance.console.call<{ items: unknown[] }>(
      'GET',
      '/audit?action=appliance.claim.refused',
    );
    expect(audit.body.items).toHaveLength(5);
    expect((await from('192.0.2.9', appliance.claimCode)).status).toBe(201);
  });

  test('its code can be checked before: that uses nothing up, and guessing there counts as guessing here', async () => {
    const from = { remoteAddress: '198.51.100.10' };
    const check = (code: string) =>
      appliance.stranger.call('POST', '/setup/claim-code', { code }, from).then(({ status }) => status);
    for (let guess = 0; guess < 4; guess += 1) expect(await check(newClaimCode())).toBe(403);
    expect(await check(appliance.claimCode.toLowerCase())).toBe(204);
    expect(await check(appliance.claimCode)).toBe(204);
    for (let guess = 0; guess < 5; guess += 1) expect(await check(newClaimCode())).toBe(403);

    expect(await check(appliance.claimCode)).toBe(429);
    const audit = await appliance.console.call<{ items: unknown[] }>(
      'GET',
      '/audit?action=appliance.claim.refused',
    );
    expect(audit.body.items).toHaveLength(9);
    expect((await claimWith({})).status).toBe(201);
    expect(await check(appliance.claimCode)).toBe(409);
  });

  test('that a crash cut off between keyring and database is simply repeated', async () => {
    const hook = Symbol.for('holdfast.crashPoint');
    const globals = globalThis as Record<symbol, unknown>;
    globals[hook] = (name: string) => {
      if (name === 'appliance.claim.keyed') throw new Error('power cut');
    };
    const cut = await claimWith({});
    delete globals[hook];
    const before = await appliance.deps.keys.status();

    const again = await claimWith({});

    expect(cut.status).toBe(500);
    expect(again.status).toBe(201);
    expect((await appliance.deps.keys.status()).repository.repositoryId).toBe(before.repository.repositoryId);
    expect(await countPeople()).toBe(1);
  });

  test('is one transaction: entries for the owner, the workspace, the claim and the session', async () => {
    await appliance.claim();

    const { body } = await appliance.console.call<{ items: { action: string }[] }>('GET', '/audit?limit=50');

    expect(body.items.map((item) => item.action)).toEqual(
      expect.arrayContaining([
        'identity.user.created',
        'workspaces.workspace.created',
        'appliance.ownership.claimed',
        'identity.session.started',
      ]),
    );
    expect(JSON.stringify(body)).not.toMatch(/Lovelace|ada@/);
  });
});

describe('the code itself', () => {
  test('has 80 bits', () => {
    expect(newClaimCode()).toMatch(/^([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}$/);
  });

  test('letters that are read as digits count as those', () => {
    expect(isClaimCode('oOiI-lL23-4567-89AB', claimCodeHash('0011-1123-4567-89AB'))).toBe(true);
    expect(isClaimCode('0011-1123-4567-89AC', claimCodeHash('0011-1123-4567-89AB'))).toBe(false);
  });
});
