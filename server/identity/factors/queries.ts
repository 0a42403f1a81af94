import type { Insertable, Selectable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { AuthenticatorApps, Passkeys, PendingSignIns } from '../../lib/tables.ts';

export type AuthenticatorAppRow = Selectable<AuthenticatorApps>;
export type PasskeyRow = Selectable<Passkeys>;
export type PendingRow = Selectable<PendingSignIns>;

/** Serialises changes of one person's factors. */
export async function lockUser(db: Database, userId: string): Promise<void> {
  await db.selectFrom('users').select('id').where('id', '=', userId).forNoKeyUpdate().execute();
}

export async function findAuthenticatorApp(
  db: Database,
  userId: string,
): Promise<AuthenticatorAppRow | undefined> {
  return db.selectFrom('authenticator_apps').selectAll().where('user_id', '=', userId).executeTakeFirst();
}

export async function lockAuthenticatorApp(
  db: Database,
  userId: string,
): Promise<AuthenticatorAppRow | undefined> {
  return db
    .selectFrom('authenticator_apps')
    .selectAll()
    .where('user_id', '=', userId)
    .forUpdate()
    .executeTakeFirst();
}

export async function setPendingApp(db: Database, userId: string, sealed: Buffer, at: Date): Promise<void> {
  const pending = { pending_sealed: sealed, pending_at: at };
  await db
    .insertInto('authenticator_apps')
    .values({ user_id: userId, ...pending })
    .onConflict((conflict) => conflict.column('user_id').doUpdateSet(pending))
    .execute();
}

/** What waited becomes what counts. */
export async function confirmApp(
  db: Database,
  userId: string,
  sealed: Buffer,
  step: number,
  at: Date,
): Promise<void> {
  await db
    .updateTable('authenticator_apps')
    .set({
      secret_sealed: sealed,
      confirmed_at: at,
      last_step: step,
      last_used_at: null,
      pending_sealed: null,
      pending_at: null,
    })
    .where('user_id', '=', userId)
    .execute();
}

export async function updateAppStep(db: Database, userId: string, step: number, at: Date): Promise<void> {
  await db
    .updateTable('authenticator_apps')
    .set({ last_step: step, last_used_at: at })
    .where('user_id', '=', userId)
    .execute();
}

/** @returns whether there was one that counted. */
export async function deleteApp(db: Database, userId: string): Promise<boolean> {
  const gone = await db
    .deleteFrom('authenticator_apps')
    .where('user_id', '=', userId)
    .returning('confirmed_at')
    .executeTakeFirst();
  return gone?.confirmed_at != null;
}

export async function listPasskeyRows(db: Database, userId: string): Promise<PasskeyRow[]> {
  return db
    .selectFrom('passkeys')
    .selectAll()
    .where('user_id', '=', userId)
    .orderBy('created_at')
    .orderBy('id')
    .execute();
}

export async function findPasskeyByCredential(
  db: Database,
  credentialId: Buffer,
): Promise<PasskeyRow | undefined> {
  return db.selectFrom('passkeys').selectAll().where('credential_id', '=', credentialId).executeTakeFirst();
}

/** @returns false when the credential is known already. */
export async function insertPasskey(db: Database, row: Insertable<Passkeys>): Promise<boolean> {
  const result = await db
    .insertInto('passkeys')
    .values(row)
    .onConflict((conflict) => conflict.column('credential_id').doNothing())
    .executeTakeFirst();
  return result.numInsertedOrUpdatedRows === 1n;
}

/**
 * Notes a use. @returns false when the counter has not moved on since it was looked at: the same answer a second time, or a copy of the
 * authenticator.
 */
export async function updatePasskeyUse(
  db: Database,
  id: string,
  use: { counter: number; backedUp: boolean; at: Date },
): Promise<boolean> {
  const result = await db
    .updateTable('passkeys')
    .set({ counter: use.counter, backed_up: use.backedUp, last_used_at: use.at })
    .where('id', '=', id)
    .where((where) =>
      where.or([
        where('counter', '<', String(use.counter)),
        where.and([where('counter', '=', '0'), where.val(use.counter === 0)]),
      ]),
    )
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

export async function updatePasskeyName(
  db: Database,
  userId: string,
  id: string,
  nameSealed: Buffer,
): Promise<boolean> {
  const result = await db
    .updateTable('passkeys')
    .set({ name_sealed: nameSealed })
    .where('id', '=', id)
    .where('user_id', '=', userId)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

export async function deletePasskey(db: Database, userId: string, id: string): Promise<boolean> {
  const result = await db
    .deleteFrom('passkeys')
    .where('id', '=', id)
    .where('user_id', '=', userId)
    .executeTakeFirst();
  return result.numDeletedRows === 1n;
}

export async function deletePasskeysOf(db: Database, userId: string): Promise<number> {
  const result = await db.deleteFrom('passkeys').where('user_id', '=', userId).executeTakeFirst();
  return Number(result.numDeletedRows);
}

export async function replaceRecoveryCodes(
  db: Database,
  userId: string,
  hashes: readonly Buffer[],
  at: Date,
): Promise<void> {
  await db.deleteFrom('recovery_codes').where('user_id', '=', userId).execute();
  if (hashes.length === 0) return;
  await db
    .insertInto('recovery_codes')
    .values(hashes.map((hash) => ({ code_hash: hash, user_id: userId, created_at: at })))
    .execute();
}

/** @returns false when there is no such unused code of this person. */
export async function useRecoveryCode(
  db: Database,
  userId: string,
  hash: Buffer,
  at: Date,
): Promise<boolean> {
  const result = await db
    .updateTable('recovery_codes')
    .set({ used_at: at })
    .where('code_hash', '=', hash)
    .where('user_id', '=', userId)
    .where('used_at', 'is', null)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

export interface FactorCount {
  authenticatorApp: boolean;
  passkeys: number;
  recoveryCodes: number;
  recoveryCodesMadeAt: Date | null;
}

export async function countFactors(db: Database, userId: string): Promise<FactorCount> {
  const [app, passkeys, codes] = await Promise.all([
    db
      .selectFrom('authenticator_apps')
      .select('user_id')
      .where('user_id', '=', userId)
      .where('confirmed_at', 'is not', null)
      .executeTakeFirst(),
    db
      .selectFrom('passkeys')
      .select((of) => of.fn.countAll<string>().as('count'))
      .where('user_id', '=', userId)
      .executeTakeFirstOrThrow(),
    db
      .selectFrom('recovery_codes')
      .select((of) => [of.fn.countAll<string>().as('count'), of.fn.max('created_at').as('made_at')])
      .where('user_id', '=', userId)
      .where('used_at', 'is', null)
      .executeTakeFirstOrThrow(),
  ]);
  return {
    authenticatorApp: app !== undefined,
    passkeys: Number(passkeys.count),
    recoveryCodes: Number(codes.count),
    recoveryCodesMadeAt: codes.made_at,
  };
}

/** Which ways of signing in these people have, never how often or when they were used. */
export async function listWaysOf(
  db: Database,
  userIds: readonly string[],
): Promise<
  Map<string, { password: boolean; authenticatorApp: boolean; passkeys: number; recoveryCodes: number }>
> {
  if (userIds.length === 0) return new Map();
  const rows = await db
    .selectFrom('users')
    .where('users.id', 'in', [...userIds])
    .select((of) => [
      'users.id',
      of('users.password_hash', 'is not', null).as('password'),
      of
        .selectFrom('authenticator_apps')
        .select((app) => app.fn.countAll<string>().as('count'))
        .whereRef('authenticator_apps.user_id', '=', 'users.id')
        .where('authenticator_apps.confirmed_at', 'is not', null)
        .as('apps'),
      of
        .selectFrom('passkeys')
        .select((key) => key.fn.countAll<string>().as('count'))
        .whereRef('passkeys.user_id', '=', 'users.id')
        .as('passkeys'),
      of
        .selectFrom('recovery_codes')
        .select((code) => code.fn.countAll<string>().as('count'))
        .whereRef('recovery_codes.user_id', '=', 'users.id')
        .where('recovery_codes.used_at', 'is', null)
        .as('codes'),
    ])
    .execute();
  return new Map(
    rows.map((row) => [
      row.id,
      {
        password: row.password === true,
        authenticatorApp: Number(row.apps) > 0,
        passkeys: Number(row.passkeys),
        recoveryCodes: Number(row.codes),
      },
    ]),
  );
}

export async function setPasskeyChallenge(
  db: Database,
  sessionId: string,
  purpose: 'enrol' | 'proof',
  challenge: string,
  expiresAt: Date,
): Promise<void> {
  const values = { challenge, expires_at: expiresAt };
  await db
    .insertInto('passkey_challenges')
    .values({ session_id: sessionId, purpose, ...values })
    .onConflict((conflict) => conflict.columns(['session_id', 'purpose']).doUpdateSet(values))
    .execute();
}

/** Takes it away: a challenge serves once. */
export async function takePasskeyChallenge(
  db: Database,
  sessionId: string,
  purpose: 'enrol' | 'proof',
  now: Date,
): Promise<string | undefined> {
  const row = await db
    .deleteFrom('passkey_challenges')
    .where('session_id', '=', sessionId)
    .where('purpose', '=', purpose)
    .returning(['challenge', 'expires_at'])
    .executeTakeFirst();
  return row !== undefined && row.expires_at > now ? row.challenge : undefined;
}

export async function insertPending(db: Database, row: Insertable<PendingSignIns>): Promise<void> {
  await db.insertInto('pending_sign_ins').values(row).execute();
}

export async function findPending(
  db: Database,
  tokenHash: Buffer,
  now: Date,
): Promise<PendingRow | undefined> {
  return db
    .selectFrom('pending_sign_ins')
    .selectAll()
    .where('token_hash', '=', tokenHash)
    .where('expires_at', '>', now)
    .executeTakeFirst();
}

/** Counts an attempt before it is looked at. @returns undefined when there were as many as are allowed. */
export async function countPendingAttempt(
  db: Database,
  tokenHash: Buffer,
  now: Date,
  limit: number,
): Promise<PendingRow | undefined> {
  return db
    .updateTable('pending_sign_ins')
    .set((of) => ({ attempts: of('attempts', '+', 1) }))
    .where('token_hash', '=', tokenHash)
    .where('expires_at', '>', now)
    .where('attempts', '<', limit)
    .returningAll()
    .executeTakeFirst();
}

export async function setPendingChallenge(db: Database, id: string, challenge: string): Promise<void> {
  await db.updateTable('pending_sign_ins').set({ challenge }).where('id', '=', id).execute();
}

/** @returns false when another request took it. */
export async function deletePending(db: Database, id: string): Promise<boolean> {
  const result = await db.deleteFrom('pending_sign_ins').where('id', '=', id).executeTakeFirst();
  return result.numDeletedRows === 1n;
}

export async function deletePendingOf(db: Database, userId: string): Promise<void> {
  await db.deleteFrom('pending_sign_ins').where('user_id', '=', userId).execute();
}

export async function deleteOldPending(db: Database, now: Date): Promise<void> {
  await db.deleteFrom('pending_sign_ins').where('expires_at', '<=', now).execute();
}

export async function membersNeedSecondFactor(db: Database): Promise<boolean> {
  const row = await db.selectFrom('sign_in_settings').select('members_need_second_factor').executeTakeFirst();
  return row?.members_need_second_factor === true;
}

export async function setMembersNeedSecondFactor(db: Database, needed: boolean): Promise<void> {
  await db.updateTable('sign_in_settings').set({ members_need_second_factor: needed }).execute();
}

export async function isKnownAddress(db: Database, userId: string, address: string): Promise<boolean> {
  const row = await db
    .selectFrom('sessions')
    .select('id')
    .where('user_id', '=', userId)
    .where('address', '=', address)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}
