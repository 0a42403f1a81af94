/** What a look into the lists of leaked passwords does to a sign-in. */
import { createHash } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hashPassword } from '../../server/identity/passwords/password-hash.ts';
import { notePasswordLeaked } from '../../server/identity/passwords/queries.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { expectStatus, OWNER, startTestAppliance, type TestAppliance } from '../helpers/appliance.ts';

let appliance: TestAppliance;
beforeAll(async () => {
  appliance = await startTestAppliance();
  await appliance.claim();
});
afterAll(() => appliance.close());

const userOf = (id: string) =>
  appliance.deps.db.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

test('a password that was changed while it was looked up is not told to have leaked', async () => {
  const { userId } = await appliance.addPerson('member');
  const { password_hash: lookedAt } = await userOf(userId);
  const password_hash = await hashPassword('amber lantern walks 9');
  await appliance.deps.db.updateTable('users').set({ password_hash }).where('id', '=', userId).execute();

  const noted = await notePasswordLeaked(appliance.deps.db, userId, lookedAt, new Date());

  expect([noted, (await userOf(userId)).password_leaked_at]).toEqual([false, null]);
  expect(await notePasswordLeaked(appliance.deps.db, userId, password_hash, new Date())).toBe(true);
});

test('a damaged list keeps nobody out whose password is right, and still stops a new one', async () => {
  const member = await appliance.addPerson('member');
  const line = `${createHash('sha1').update('seen in a leak').digest('hex').toUpperCase()}:1\n`;
  const given = appliance.console.call('PUT', '/console/leaked-passwords', undefined, {
    payload: Buffer.from(line),
    headers: { 'content-type': 'application/octet-stream' },
  });
  await expectStatus(given, 200);
  const folder = dataPaths(appliance.dataDir).passwords;
  for (const name of await readdir(folder)) await writeFile(join(folder, name), 'no such list');
  const signIn = (password: string) =>
    appliance.stranger.call('POST', '/session', { email: member.email, password });

  const [right, wrong] = [await signIn(OWNER.password), await signIn('not the right words')];
  const change = { password: 'amber lantern walks 9', currentPassword: OWNER.password };
  const changed = await member.call('POST', '/me/password', change);

  expect([right.status, wrong.status, changed.status]).toEqual([201, 401, 500]);
});
