import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hashPassword, verifyPassword } from '../../server/identity/passwords/password-hash.ts';
import { checkPassword } from '../../server/identity/passwords/password-policy.ts';
import { createTestDatabase, type TestDatabase } from '../helpers/postgres.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const check = (password: string) =>
  checkPassword({ db: database.db, dataDir: '/nowhere' }, password, ['Ada Lovelace', 'ada@example.org']);

describe('which passwords are taken', () => {
  const refused: [string, string][] = [
    ['', 'is shorter than 8 bytes'],
    ['7bytes!', 'is shorter than 8 bytes'],
    ['x7'.repeat(65), 'is longer than 128 bytes'],
    ['é'.repeat(65), 'is longer than 128 bytes'],
    ['password', 'easy to guess'],
    ['Password1!', 'easy to guess'],
    ['P4$$w0rd2024', 'easy to guess'],
    ['12345678', 'easy to guess'],
    ['aaaaaaaaaaaaaaaa', 'easy to guess'],
    ['x7Kq'.repeat(32), 'easy to guess'],
    ['qwertyuiop', 'easy to guess'],
    ['abababababab', 'easy to guess'],
    ['ada-lovelace', 'easy to guess'],
    ['holdfast2026', 'easy to guess'],
    ['xbox360live', 'has leaked'],
    ['g1s2h3v8', 'has leaked'],
  ];
  for (const [password, reason] of refused) {
    test(`"${password.slice(0, 20)}" (${Buffer.byteLength(password)} bytes) ${reason}`, async () => {
      await expect(check(password)).rejects.toThrow(reason);
      await expect(check(password)).rejects.not.toThrow(new RegExp(`${password || 'nothing'}$`));
    });
  }

  for (const password of [
    'tk8#Vq2m',
    'correct horse battery stable',
    ' leading and trailing ',
    'пароль-длинный',
    'tk8#Vq2m-Wz4!nB7p-'.repeat(7) + 'x7',
  ]) {
    test(`"${password.slice(0, 30)}" is taken as it is`, async () => {
      await expect(check(password)).resolves.toBeUndefined();
    });
  }

  test('the estimate of the longest takes no longer than a hash', async () => {
    const longest = '1l|!7+$5@4(<{[0)'.repeat(8);
    await check('tk8#Vq2m');
    const startedAt = performance.now();
    await check(longest);

    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });
});

describe('the stored hash', () => {
  test('is argon2id with at least 19 MiB and two passes, and differs each time', async () => {
    const [first, second] = await Promise.all([
      hashPassword('one and the same'),
      hashPassword('one and the same'),
    ]);

    const [, memory, passes] = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=\d+\$/.exec(first) ?? [];
    expect(Number(memory)).toBeGreaterThanOrEqual(19 * 1024);
    expect(Number(passes)).toBeGreaterThanOrEqual(2);
    expect(first).not.toBe(second);
  });

  test('a trailing space, another case or a cut password is another password', async () => {
    const hash = await hashPassword('Correct Horse 9');

    for (const wrong of ['correct horse 9', 'Correct Horse 9 ', 'Correct Horse ', '']) {
      expect(await verifyPassword(wrong, hash)).toBe(false);
    }
    expect(await verifyPassword('Correct Horse 9', hash)).toBe(true);
  });

  test('a hash made with another cost still verifies, as its own string says', async () => {
    // From the tests of the reference program: echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1
    const hash = '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc';

    expect(await verifyPassword('password', hash)).toBe(true);
    expect(await verifyPassword('passwore', hash)).toBe(false);
  });

  for (const hash of [
    null,
    undefined,
    '',
    'x',
    '$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHQ$AAAA',
    '$2b$10$abcdefghijklmnopqrstuv',
  ]) {
    test(`an unusable stored hash (${String(hash).slice(0, 24)}) matches nothing`, async () => {
      expect(await verifyPassword('password', hash)).toBe(false);
    });
  }

  test('the event loop goes on while a password is hashed', async () => {
    let ticks = 0;
    const timer = setInterval(() => (ticks += 1), 1);
    await hashPassword('one and the same');
    clearInterval(timer);

    expect(ticks).toBeGreaterThan(3);
  });
});
