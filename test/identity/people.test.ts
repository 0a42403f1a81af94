import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemActor, type Actor } from '../../server/audit/index.ts';
import {
  hashNewPassword,
  insertPerson,
  listPeople,
  openSession,
  preparePerson,
  rebuildEmailIndex,
  setPassword,
  signIn,
} from '../../server/identity/index.ts';
import { emailHashOf, takeEmail } from '../../server/identity/people/people.ts';
import { findSessionOf } from '../../server/identity/sessions/sessions.ts';
import { waitAfter } from '../../server/identity/sign-in/sign-in-throttle.ts';
import { writeTransaction } from '../../server/lib/db.ts';
import { withClient } from '../../server/lib/postgres/index.ts';
import { startTestParts, type TestParts } from '../helpers/appliance.ts';

let parts: TestParts;
let deps: Parameters<typeof signIn>[0];
beforeAll(async () => {
  parts = await startTestParts();
  deps = { ...parts.deps, banners: async () => [] };
});
afterAll(() => parts.close());

const PASSWORD = 'copper kettle sings 7';
const BY_PASSWORD = { userAgent: undefined, methods: ['password'] as const };
const from = (address: string): Actor => ({ kind: 'user', address });

async function addPerson(email: string, name = 'Grace Hopper'): Promise<string> {
  const person = await preparePerson(deps, { name, email, password: PASSWORD, role: 'member' });
  await writeTransaction(deps.db, (tx) => insertPerson(tx, deps, person, systemActor('test')));
  return person.userId;
}

/** Whether a token opens a session that can be used. */
async function isLive(token: string, active: boolean): Promise<boolean> {
  const shown = { token, userAgent: undefined, address: undefined, active };
  return (await findSessionOf(deps, shown)).state === 'live';
}

async function enter(email: string, password: string, address = '192.0.2.1') {
  const { session } = await signIn(deps, { email, password, userAgent: 'test' }, from(address));
  if (session === undefined) throw new Error('A second factor is asked for');
  return session;
}

describe('people', () => {
  test('the database holds neither name nor e-mail, sealed values aside', async () => {
    await addPerson('grace.readable@example.org', 'Grace Readable');

    const found = await withClient(parts.database.adminAddress, 'test', async (client) => {
      const { rows } = await client.query<{ users: string; index: string }>(
        `select (select string_agg(row_to_json(u)::text, '') from users u) as users,
           (select string_agg(row_to_json(i)::text, '') from user_email_index i) as index`,
      );
      const hex = (text: string) => Buffer.from(text).toString('hex');
      const all = `${rows[0]?.users} ${rows[0]?.index}`.toLowerCase();
      return ['readable', 'grace', hex('grace'), hex('readable')].filter((text) => all.includes(text));
    });

    expect(found).toEqual([]);
    expect(await listPeople(deps)).toContainEqual(
      expect.objectContaining({ name: 'Grace Readable', email: 'grace.readable@example.org' }),
    );
  });

  test('an e-mail that differs only by case or spaces belongs to the same person', async () => {
    await addPerson('case@example.org');

    await expect(addPerson(' CASE@Example.org ')).rejects.toMatchObject({ code: 'conflict' });
  });

  test('after a crash emptied the look-up table, whoever signs in next fills it again', async () => {
    await addPerson('crash@example.org');
    await deps.db.deleteFrom('user_email_index').execute();

    await expect(enter('crash@example.org', PASSWORD)).resolves.toMatchObject({
      token: expect.any(String) as unknown,
    });

    expect(await rebuildEmailIndex(deps, 'lost')).toBeUndefined();
    expect(await rebuildEmailIndex(deps)).toBe((await listPeople(deps)).length);
  });

  test('and gives no address away a second time meanwhile', async () => {
    await addPerson('taken@example.org');
    await deps.db.deleteFrom('user_email_index').execute();
    await expect(addPerson('taken@example.org')).rejects.toMatchObject({ code: 'conflict' });

    const hash = await emailHashOf(deps, 'taken@example.org');
    await deps.db.deleteFrom('user_email_index').execute();
    const late = writeTransaction(deps.db, (tx) => takeEmail(tx, hash, randomUUID()));
    await expect(late).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('of many who come at once after a crash each gets in', async () => {
    await addPerson('many@example.org');
    await deps.db.deleteFrom('user_email_index').execute();

    const all = [1, 2, 3, 4, 5].map((index) => enter('many@example.org', PASSWORD, `192.0.2.${index}`));

    expect((await Promise.allSettled(all)).map(({ status }) => status)).toEqual(Array(5).fill('fulfilled'));
  });

  test('an e-mail moved to another row does not open there', async () => {
    const [first, second] = [await addPerson('one@example.org'), await addPerson('two@example.org')];
    const row = await deps.db
      .selectFrom('users')
      .select('email_sealed')
      .where('id', '=', first)
      .executeTakeFirstOrThrow();
    const before = await deps.db
      .selectFrom('users')
      .select('email_sealed')
      .where('id', '=', second)
      .executeTakeFirstOrThrow();
    await deps.db
      .updateTable('users')
      .set({ email_sealed: row.email_sealed })
      .where('id', '=', second)
      .execute();

    const people = await listPeople(deps);

    expect(people.find((person) => person.id === second)?.email).toBe('(unreadable)');
    await deps.db.updateTable('users').set(before).where('id', '=', second).execute();
  });
});

describe('sign-in', () => {
  test('an unknown account and a wrong password get the same answer after the same work', async () => {
    await addPerson('known@example.org');
    const measure = async (email: string, address: string) => {
      const started = performance.now();
      const error: unknown = await enter(email, 'wrong password 9', address).catch(
        (caught: unknown) => caught,
      );
      return { error, ms: performance.now() - started };
    };
    await measure('warm-up@example.org', '192.0.2.9');

    const known = await measure('known@example.org', '192.0.2.10');
    const unknown = await measure('nobody@example.org', '192.0.2.11');

    expect(String(known.error)).toBe(String(unknown.error));
    expect(known.error).toMatchObject({ code: 'unauthenticated' });
    // Hashing takes most of it; skipping that for unknown people would make it a tenth.
    expect(unknown.ms).toBeGreaterThan(known.ms / 3);
  });

  test('a disabled account is refused like a wrong password, and its sessions end at once', async () => {
    const userId = await addPerson('leaver@example.org');
    const session = await enter('leaver@example.org', PASSWORD, '192.0.2.12');
    await deps.db
      .updateTable('users')
      .set({ disabled_at: deps.clock.now() })
      .where('id', '=', userId)
      .execute();

    await expect(enter('leaver@example.org', PASSWORD, '192.0.2.13')).rejects.toMatchObject({
      code: 'unauthenticated',
    });
    expect(await isLive(session.token, true)).toBe(false);
  });

  test('guessing is slowed down for the guesser only', async () => {
    await addPerson('target@example.org');
    const guesser = '198.51.100.1';
    for (let guess = 0; guess < 5; guess += 1) {
      await expect(enter('target@example.org', `wrong ${guess}`, guesser)).rejects.toMatchObject({
        code: 'unauthenticated',
      });
    }

    await expect(enter('target@example.org', PASSWORD, guesser)).rejects.toMatchObject({
      code: 'too_many_requests',
    });
    await expect(enter('target@example.org', PASSWORD, '192.0.2.20')).resolves.toBeDefined();
  });

  test('many guesses at once do not get more tries than one after the other', async () => {
    await addPerson('burst@example.org');
    const codes = await Promise.all(
      Array.from({ length: 12 }, (_, guess) =>
        enter('burst@example.org', `wrong ${guess}`, '198.51.100.2').catch(
          (error: unknown) => (error as { code: string }).code,
        ),
      ),
    );

    expect(codes.filter((code) => code === 'unauthenticated')).toHaveLength(5);
    expect(codes.filter((code) => code === 'too_many_requests')).toHaveLength(7);
  });

  test('addresses of one IPv6 network count as one', async () => {
    await addPerson('six@example.org');
    for (let guess = 0; guess < 5; guess += 1) {
      await expect(enter('six@example.org', 'wrong', `2001:db8:1:2::${guess}`)).rejects.toMatchObject({
        code: 'unauthenticated',
      });
    }

    await expect(enter('six@example.org', 'wrong', '2001:db8:1:2:ffff::1')).rejects.toMatchObject({
      code: 'too_many_requests',
    });
    await expect(enter('six@example.org', PASSWORD, '2001:db8:1:3::1')).resolves.toBeDefined();
  });

  test('the wait ends, and a success forgets the failures', async () => {
    await addPerson('patient@example.org');
    for (let guess = 0; guess < 5; guess += 1) {
      await enter('patient@example.org', 'wrong', '198.51.100.3').catch(() => undefined);
    }
    parts.clock.offsetMs += waitAfter(5) + 1;

    await expect(enter('patient@example.org', PASSWORD, '198.51.100.3')).resolves.toBeDefined();
    await expect(enter('patient@example.org', 'wrong', '198.51.100.3')).rejects.toMatchObject({
      code: 'unauthenticated',
    });
  });

  test('the wait doubles and stays below a quarter of an hour', () => {
    expect([4, 5, 6, 7].map(waitAfter)).toEqual([0, 2000, 4000, 8000]);
    expect(waitAfter(1_000_000)).toBe(15 * 60_000);
  });

  test('the table of failures tells neither who nor from where', async () => {
    await enter('somebody@example.org', 'wrong', '203.0.113.77').catch(() => undefined);
    const rows = await deps.db.selectFrom('sign_in_failures').selectAll().execute();

    expect(JSON.stringify(rows)).not.toMatch(/203\.0\.113\.77|somebody/);
  });
});

describe('sessions', () => {
  test('only a hash of the token is stored', async () => {
    await addPerson('token@example.org');
    const { token } = await enter('token@example.org', PASSWORD, '192.0.2.30');
    const rows = await deps.db.selectFrom('sessions').selectAll().execute();

    const all = rows.map((row) => row.token_hash.toString('latin1')).join();
    expect(all).not.toContain(token);
    expect(all).not.toContain(Buffer.from(token, 'base64url').toString('latin1'));
  });

  const cases = [
    { role: 'owner', idle: 15 },
    { role: 'admin', idle: 15 },
    { role: 'auditor', idle: 30 },
    { role: 'member', idle: 30 },
  ] as const;
  for (const { role, idle } of cases) {
    test(`a session of role ${role} ends after ${idle} minutes without use and 12 hours in any case`, async () => {
      const minute = 60_000;
      const person = await preparePerson(deps, {
        name: role,
        email: `${role}@idle.example`,
        password: PASSWORD,
        role,
      });
      const { token } = await writeTransaction(deps.db, async (tx) => {
        await insertPerson(tx, deps, person, systemActor('test'));
        return openSession(tx, deps, { id: person.userId, role }, systemActor('test'), BY_PASSWORD);
      });
      const alive = () => isLive(token, true);

      parts.clock.offsetMs += (idle - 1) * minute;
      expect(await alive()).toBe(true);
      parts.clock.offsetMs += (idle - 1) * minute;
      expect(await alive()).toBe(true);
      for (let passed = 2 * (idle - 1); passed < 12 * 60 - idle; passed += idle - 1) {
        parts.clock.offsetMs += (idle - 1) * minute;
        expect(await alive()).toBe(true);
      }
      parts.clock.offsetMs += (idle - 1) * minute;
      expect(await alive()).toBe(false);
    });

    test(`looking in the background does not keep a session of role ${role} alive`, async () => {
      const person = await preparePerson(deps, {
        name: role,
        email: `${role}@back.example`,
        password: PASSWORD,
        role,
      });
      const { token } = await writeTransaction(deps.db, async (tx) => {
        await insertPerson(tx, deps, person, systemActor('test'));
        return openSession(tx, deps, { id: person.userId, role }, systemActor('test'), BY_PASSWORD);
      });

      parts.clock.offsetMs += (idle - 1) * 60_000;
      expect(await isLive(token, false)).toBe(true);
      parts.clock.offsetMs += 2 * 60_000;
      expect(await isLive(token, false)).toBe(false);
    });
  }

  test('a new password ends every session', async () => {
    const userId = await addPerson('change@example.org');
    const sessions = [
      await enter('change@example.org', PASSWORD, '192.0.2.40'),
      await enter('change@example.org', PASSWORD, '192.0.2.41'),
    ];
    const passwordHash = await hashNewPassword(deps, userId, 'another copper kettle 8');

    await writeTransaction(deps.db, (tx) =>
      setPassword(tx, deps, { userId, passwordHash, reason: 'password-changed' }, systemActor('test')),
    );

    for (const { token } of sessions) expect(await isLive(token, true)).toBe(false);
    await expect(enter('change@example.org', PASSWORD, '192.0.2.42')).rejects.toMatchObject({
      code: 'unauthenticated',
    });
    await expect(enter('change@example.org', 'another copper kettle 8', '192.0.2.43')).resolves.toBeDefined();
  });
});
