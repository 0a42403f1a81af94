/** Second factors through the routes: adding, signing in, what is refused, and that no way leads past them. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { base32, totpCode, totpStep } from '../../server/identity/factors/totp.ts';
import {
  browserOf,
  expectStatus,
  ORIGIN,
  OWNER,
  startTestAppliance,
  type TestAppliance,
} from '../helpers/appliance.ts';
import { attest, softwarePasskey } from '../helpers/software-passkey.ts';

type TestBrowser = ReturnType<typeof browserOf>;
const PASSWORD = OWNER.password;
const STEP_MS = 30_000;

let appliance: TestAppliance;
beforeEach(async () => {
  appliance = await startTestAppliance();
});
afterEach(() => appliance.close());

const browser = () => browserOf(appliance.app);

/** Takes ownership with a password alone. */
async function claimed(): Promise<TestBrowser> {
  const page = browser();
  await expectStatus(page.call('POST', '/setup/claim', { code: appliance.claimCode, owner: OWNER }), 201);
  return page;
}

async function withPassword(email = OWNER.email) {
  const page = browser();
  return { page, reply: await page.call('POST', '/session', { email, password: PASSWORD }) };
}

/** Adds an authenticator app. @returns its secret and the recovery codes. */
async function addApp(page: TestBrowser): Promise<{ secret: Buffer; confirmedBy: string; codes: string[] }> {
  const begun = await expectStatus(page.call<{ secret: string }>('POST', '/me/authenticator-app'), 201);
  const secret = fromBase32(begun.secret);
  const confirmedBy = codeOf(secret);
  const confirmed = await expectStatus(
    page.call<{ recoveryCodes?: string[] }>('POST', '/me/authenticator-app/confirmation', {
      code: confirmedBy,
    }),
    201,
  );
  return { secret, confirmedBy, codes: confirmed.recoveryCodes ?? [] };
}

function codeOf(secret: Buffer, steps = 0): string {
  return totpCode(secret, totpStep(appliance.clock.now()) + steps);
}

function fromBase32(text: string): Buffer {
  const bits = Array.from(text, (letter) =>
    'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0'),
  ).join('');
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
}

const give = (page: TestBrowser, proof: object) => page.call('POST', '/session/second-factor', proof);

async function actions(): Promise<string[]> {
  const rows = await appliance.deps.db.selectFrom('audit_entries').select('action').execute();
  return rows.map(({ action }) => action);
}

describe('a session without the second factor that its person must have', () => {
  test.each([
    ['GET', '/workspaces'],
    ['GET', '/overview'],
    ['GET', '/audit'],
    ['PUT', '/settings/appliance'],
    ['POST', '/recovery-kits'],
    ['DELETE', '/me/authenticator-app'],
    ['POST', '/me/recovery-codes'],
    ['DELETE', `/me/passkeys/${randomUUID()}`],
  ] as const)('is refused %s %s', async (method, path) => {
    const page = await claimed();

    expect(await page.call(method, path, method === 'GET' ? undefined : {})).toMatchObject({
      status: 403,
      body: { error: { code: 'second_factor_required' } },
    });
  });

  test('is told so, may see who it is, add a factor and sign out, and sees no step of the set-up', async () => {
    const page = await claimed();

    expect((await page.call('GET', '/session')).body).toMatchObject({ restricted: true });
    expect((await page.call('GET', '/me/sign-in')).body).toMatchObject({ secondFactorRequired: true });
    expect((await page.call('GET', '/setup')).body.steps).toBeUndefined();
    expect((await page.call('DELETE', '/session')).status).toBe(204);
  });

  test('opens up with an authenticator app, under a new token, and the one before is over', async () => {
    const page = await claimed();
    const before = page.cookie();

    const { codes } = await addApp(page);

    expect(codes).toHaveLength(10);
    expect(new Set(codes).size).toBe(10);
    expect(page.cookie()).not.toBe(before);
    expect((await page.call('GET', '/workspaces')).status).toBe(200);
    expect((await browserOf(appliance.app, before).call('GET', '/session')).status).toBe(401);
    expect(await actions()).toContain('identity.totp.added');
  });

  test('cannot add a factor once the person has one: a password alone gets nobody past it', async () => {
    await claimed();
    const { page: thief } = await withPassword();
    const asked = await expectStatus(thief.call<{ options: unknown }>('POST', '/me/passkeys/options'), 200);
    const { page: person } = await withPassword();
    const stolen = thief.cookie();
    await addApp(person);

    // The other session has ended; one that had not would be refused too.
    expect((await thief.call('POST', '/me/passkeys/options')).status).toBe(401);
    await appliance.deps.db.updateTable('sessions').set({ ended_at: null, end_reason: null }).execute();
    const again = browserOf(appliance.app, stolen);
    const response = attest(softwarePasskey('thief'), asked.options, ORIGIN);
    for (const [path, body] of [
      ['/me/passkeys/options', undefined],
      ['/me/passkeys', { name: 'Mine', response }],
      ['/me/authenticator-app', undefined],
    ] as const)
      expect(await again.call('POST', path, body)).toMatchObject({ status: 403 });
    expect(await appliance.deps.db.selectFrom('passkeys').selectAll().execute()).toEqual([]);
  });

  test('of a member is whole, until the setting asks members for a factor too', async () => {
    const owner = await appliance.claim();
    const member = await appliance.addPerson('member');
    expect((await member.call('GET', '/workspaces')).status).toBe(200);

    const settings = await expectStatus(owner.call<object>('GET', '/settings/sessions'), 200);
    expect(settings).toMatchObject({ membersNeedSecondFactor: false });
    const change = { ...settings, membersNeedSecondFactor: true };
    expect((await member.call('PUT', '/settings/sessions', change)).status).toBe(403);
    await expectStatus(owner.call('PUT', '/settings/sessions', change), 200);

    expect((await member.call('GET', '/workspaces')).body).toMatchObject({
      error: { code: 'second_factor_required' },
    });
  });
});

describe('the password, where there is a second factor', () => {
  test('opens no session, and the answer names the ways', async () => {
    await addApp(await claimed());

    const { page, reply } = await withPassword();

    expect(reply).toMatchObject({ status: 202, body: { ways: ['totp', 'recovery-code'] } });
    expect(page.cookie()).toMatch(/^__Host-holdfast-sign-in=[\w-]{43}$/);
    expect((await page.call('GET', '/session')).status).toBe(401);
  });

  test('of which the token is kept as a hash, and is worth nothing in another place', async () => {
    await addApp(await claimed());
    const { page } = await withPassword();
    const token = page.cookie().split('=')[1] ?? '';

    const rows = await appliance.deps.db.selectFrom('pending_sign_ins').selectAll().execute();
    const asSession = browserOf(appliance.app, `__Host-holdfast=${token}`);

    expect(rows).toHaveLength(1);
    expect(rows[0]?.token_hash.toString('latin1')).not.toContain(token);
    expect((await asSession.call('GET', '/session')).status).toBe(401);
  });

  test('a wrong one says what an unknown e-mail says', async () => {
    await addApp(await claimed());
    const wrong = await browser().call('POST', '/session', {
      email: OWNER.email,
      password: 'no such kettle 1',
    });
    const unknown = await browser().call('POST', '/session', { email: 'x@example.org', password: PASSWORD });

    expect(wrong.status).toBe(401);
    expect({ ...(wrong.body.error as object), requestId: '' }).toEqual({
      ...(unknown.body.error as object),
      requestId: '',
    });
  });
});

describe('a code of the authenticator app', () => {
  test('signs in once: again, beside it and in parallel it is refused', async () => {
    const { secret } = await addApp(await claimed());
    appliance.clock.offsetMs += STEP_MS;
    const proof = { kind: 'totp', code: codeOf(secret) };
    const pages = await Promise.all(Array.from({ length: 4 }, () => withPassword()));

    const replies = await Promise.all(pages.map(({ page }) => give(page, proof)));

    expect(replies.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(replies.filter(({ status }) => status === 401)).toHaveLength(3);
    const { page } = await withPassword();
    expect((await give(page, proof)).status).toBe(401);
  });

  test('that confirmed the app does not sign in as well', async () => {
    const { confirmedBy } = await addApp(await claimed());
    const { page } = await withPassword();

    expect((await give(page, { kind: 'totp', code: confirmedBy })).status).toBe(401);
  });

  test('from before the last one used is refused', async () => {
    const { secret } = await addApp(await claimed());
    appliance.clock.offsetMs += 4 * STEP_MS;
    const first = await withPassword();
    expect((await give(first.page, { kind: 'totp', code: codeOf(secret) })).status).toBe(201);

    const second = await withPassword();

    expect((await give(second.page, { kind: 'totp', code: codeOf(secret, -1) })).status).toBe(401);
    expect((await give(second.page, { kind: 'totp', code: codeOf(secret, 1) })).status).toBe(201);
  });

  test('is taken five times at most by one sign-in, and its failures are audited', async () => {
    const { secret } = await addApp(await claimed());
    appliance.clock.offsetMs += 2 * STEP_MS;
    const { page } = await withPassword();

    for (let attempt = 0; attempt < 5; attempt += 1)
      expect((await give(page, { kind: 'totp', code: '000000' })).status).toBe(401);

    expect((await give(page, { kind: 'totp', code: codeOf(secret) })).body).toMatchObject({
      error: { message: 'This sign-in is over' },
    });
    expect((await actions()).filter((action) => action === 'identity.second-factor.refused')).toHaveLength(5);
  });

  test('guessed with the right password from many places is slowed down, and the person gets in all the same', async () => {
    const { secret } = await addApp(await claimed());
    appliance.clock.offsetMs += 2 * STEP_MS;
    const statuses: number[] = [];
    for (let guess = 0; guess < 8; guess += 1) {
      const remoteAddress = `198.51.100.${guess}`;
      const page = browser();
      await page.call('POST', '/session', { email: OWNER.email, password: PASSWORD }, { remoteAddress });
      const proof = { kind: 'totp', code: '000000' };
      const reply = await page.call('POST', '/session/second-factor', proof, { remoteAddress });
      statuses.push(reply.status);
    }
    const { page } = await withPassword();

    expect(statuses).toContain(429);
    // From where the owner has been before.
    expect((await give(page, { kind: 'totp', code: codeOf(secret) })).status).toBe(201);
  });

  test('is not asked for after five minutes', async () => {
    const { secret } = await addApp(await claimed());
    const { page } = await withPassword();
    appliance.clock.offsetMs += 5 * 60_000 + 1;

    expect((await give(page, { kind: 'totp', code: codeOf(secret) })).status).toBe(401);
  });

  test('of another browser does not end this sign-in: the token is in the cookie', async () => {
    const { secret } = await addApp(await claimed());
    appliance.clock.offsetMs += STEP_MS;
    await withPassword();

    expect((await give(browser(), { kind: 'totp', code: codeOf(secret) })).status).toBe(401);
  });

  test('the secret is sealed: the database does not hold it', async () => {
    const { secret } = await addApp(await claimed());
    const [row] = await appliance.deps.db.selectFrom('authenticator_apps').selectAll().execute();

    expect(row?.secret_sealed?.includes(secret)).toBe(false);
    expect(row?.secret_sealed?.includes(Buffer.from(base32(secret)))).toBe(false);
  });

  test('a second app counts only when a code of it was given; then the first no more', async () => {
    const page = await claimed();
    const { secret: old } = await addApp(page);
    const begun = await expectStatus(page.call<{ secret: string }>('POST', '/me/authenticator-app'), 201);
    const fresh = fromBase32(begun.secret);
    expect((await page.call('POST', '/me/authenticator-app/confirmation', { code: '000000' })).status).toBe(
      400,
    );
    appliance.clock.offsetMs += STEP_MS;
    const before = await withPassword();
    expect((await give(before.page, { kind: 'totp', code: codeOf(old) })).status).toBe(201);

    const code = codeOf(fresh);
    await expectStatus(before.page.call('POST', '/me/authenticator-app/confirmation', { code }), 201);

    appliance.clock.offsetMs += STEP_MS;
    const after = await withPassword();
    expect((await give(after.page, { kind: 'totp', code: codeOf(old) })).status).toBe(401);
    expect((await give(after.page, { kind: 'totp', code: codeOf(fresh) })).status).toBe(201);
  });
});

describe('a recovery code', () => {
  test('signs in once, however it is typed, and is kept as a hash', async () => {
    const { codes } = await addApp(await claimed());
    const [code = '', other = ''] = codes;
    const first = await withPassword();
    const typed = ` ${code.toUpperCase().replaceAll('-', ' ')} `;

    expect((await give(first.page, { kind: 'recovery-code', code: typed })).status).toBe(201);

    const second = await withPassword();
    expect((await give(second.page, { kind: 'recovery-code', code })).status).toBe(401);
    expect((await give(second.page, { kind: 'recovery-code', code: other })).status).toBe(201);
    expect((await second.page.call('GET', '/me/sign-in')).body).toMatchObject({ recoveryCodes: { left: 8 } });
    const rows = await appliance.deps.db.selectFrom('recovery_codes').selectAll().execute();
    expect(JSON.stringify(rows.map((row) => row.code_hash.toString('latin1')))).not.toContain(code);
    expect(await actions()).toContain('identity.recovery-code.used');
  });

  test('of 100 tries at once with one code, one succeeds', async () => {
    const { codes } = await addApp(await claimed());
    const pages = await Promise.all(Array.from({ length: 5 }, () => withPassword()));
    const proof = { kind: 'recovery-code', code: codes[0] ?? '' };

    const replies = await Promise.all(pages.flatMap(({ page }) => [1, 2, 3].map(() => give(page, proof))));

    expect(replies.filter(({ status }) => status === 201)).toHaveLength(1);
  });

  test('works no more when new ones were made', async () => {
    const page = await claimed();
    const { codes } = await addApp(page);
    const made = await expectStatus(
      page.call<{ recoveryCodes: string[] }>('POST', '/me/recovery-codes'),
      201,
    );
    const signIn = await withPassword();

    expect((await give(signIn.page, { kind: 'recovery-code', code: codes[0] })).status).toBe(401);
    expect((await give(signIn.page, { kind: 'recovery-code', code: made.recoveryCodes[0] })).status).toBe(
      201,
    );
  });
});
