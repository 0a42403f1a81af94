import { sql, type Insertable, type Selectable } from 'kysely';
import type { Database, WriteTransaction } from '../../lib/db.ts';
import type { LinkedIdentities, SingleSignOn, SingleSignOnAttempts } from '../../lib/tables.ts';
import { lockOwnerIds } from '../people/queries.ts';
import type { Role } from '../schema.ts';

export type ProviderRow = Selectable<SingleSignOn>;
export type LinkRow = Selectable<LinkedIdentities>;
export type AttemptRow = Selectable<SingleSignOnAttempts>;

export async function findProvider(db: Database): Promise<ProviderRow | undefined> {
  return db.selectFrom('single_sign_on').selectAll().executeTakeFirst();
}

export async function lockProvider(db: Database): Promise<ProviderRow | undefined> {
  return db.selectFrom('single_sign_on').selectAll().forUpdate().executeTakeFirst();
}

/** Held until the transaction ends, so that what rests on it stays true. */
export async function holdProvider(db: Database): Promise<ProviderRow | undefined> {
  return db.selectFrom('single_sign_on').selectAll().forShare().executeTakeFirst();
}

export async function saveProvider(
  db: Database,
  row: Omit<Insertable<SingleSignOn>, 'singleton' | 'version' | 'only_since'>,
): Promise<void> {
  const json = {
    role_groups: sql<string>`${JSON.stringify(row.role_groups)}::jsonb`,
    team_groups: sql<string>`${JSON.stringify(row.team_groups)}::jsonb`,
  };
  await db
    .insertInto('single_sign_on')
    .values({ ...row, ...json })
    .onConflict((conflict) =>
      conflict.column('singleton').doUpdateSet((of) => ({
        ...row,
        ...json,
        version: of('single_sign_on.version', '+', '1'),
      })),
    )
    .execute();
}

export async function deleteProvider(db: Database): Promise<void> {
  await db.deleteFrom('single_sign_on').execute();
}

export async function setOnlySince(db: Database, since: Date | null): Promise<void> {
  await db
    .updateTable('single_sign_on')
    .set((of) => ({ only_since: since, version: of('version', '+', '1') }))
    .execute();
}

export async function findLinkBySubject(db: Database, subjectHash: Buffer): Promise<LinkRow | undefined> {
  return db
    .selectFrom('linked_identities')
    .selectAll()
    .where('subject_hash', '=', subjectHash)
    .executeTakeFirst();
}

export async function findLinkOf(db: Database, userId: string): Promise<LinkRow | undefined> {
  return db.selectFrom('linked_identities').selectAll().where('user_id', '=', userId).executeTakeFirst();
}

/** Takes the place of a link with another provider. @returns false when the person, or the subject, is linked already. */
export async function insertLink(db: Database, row: Insertable<LinkedIdentities>): Promise<boolean> {
  await db
    .deleteFrom('linked_identities')
    .where('user_id', '=', row.user_id)
    .where('issuer', '<>', row.issuer)
    .execute();
  const result = await db
    .insertInto('linked_identities')
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return result.numInsertedOrUpdatedRows === 1n;
}

export async function noteLinkUse(db: Database, userId: string, at: Date): Promise<void> {
  await db.updateTable('linked_identities').set({ last_used_at: at }).where('user_id', '=', userId).execute();
}

export async function deleteLink(db: Database, userId: string): Promise<boolean> {
  const result = await db.deleteFrom('linked_identities').where('user_id', '=', userId).executeTakeFirst();
  return result.numDeletedRows === 1n;
}

/** How many can come in by the provider that is set. Links with another one open nothing. */
export async function countLinks(db: Database): Promise<number> {
  const row = await db
    .selectFrom('linked_identities')
    .innerJoin('single_sign_on', 'single_sign_on.issuer', 'linked_identities.issuer')
    .select((of) => of.fn.countAll<string>().as('count'))
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

export async function insertAttempt(db: Database, row: Insertable<SingleSignOnAttempts>): Promise<void> {
  await db.insertInto('single_sign_on_attempts').values(row).execute();
}

/** Takes it away: it serves once. */
export async function takeAttempt(
  db: Database,
  tokenHash: Buffer,
  now: Date,
): Promise<AttemptRow | undefined> {
  const row = await db
    .deleteFrom('single_sign_on_attempts')
    .where('token_hash', '=', tokenHash)
    .returningAll()
    .executeTakeFirst();
  return row !== undefined && row.expires_at > now ? row : undefined;
}

export async function deleteOldAttempts(db: Database, now: Date): Promise<void> {
  await db.deleteFrom('single_sign_on_attempts').where('expires_at', '<=', now).execute();
}

/** What they began while they were somebody who could. */
export async function deleteAttemptsOf(db: Database, userId: string): Promise<void> {
  await db.deleteFrom('single_sign_on_attempts').where('user_id', '=', userId).execute();
}

export async function deleteAllAttempts(db: Database): Promise<void> {
  await db.deleteFrom('single_sign_on_attempts').execute();
}

/** @returns false when the message was seen before. */
export async function noteLogout(db: Database, tokenIdHash: Buffer, expiresAt: Date): Promise<boolean> {
  const result = await db
    .insertInto('single_sign_on_logouts')
    .values({ token_id_hash: tokenIdHash, expires_at: expiresAt })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return result.numInsertedOrUpdatedRows === 1n;
}

export async function deleteOldLogouts(db: Database, now: Date): Promise<void> {
  await db.deleteFrom('single_sign_on_logouts').where('expires_at', '<', now).execute();
  await db.deleteFrom('single_sign_on_ended').where('expires_at', '<', now).execute();
}

/** From now on, sign-ins that were begun before count no more. */
export async function noteLoggedOut(db: Database, userId: string, at: Date): Promise<void> {
  await db
    .updateTable('linked_identities')
    .set({ logged_out_at: at })
    .where('user_id', '=', userId)
    .execute();
}

/** One at a time ends a session at the provider or opens one of ours that belongs to it. */
export async function lockProviderSession(tx: WriteTransaction, hash: Buffer): Promise<void> {
  await sql`select pg_advisory_xact_lock(${hash.readBigInt64BE()})`.execute(tx);
}

/** @param until when no sign-in can come any more that was begun before. */
export async function noteProviderSessionEnded(db: Database, hash: Buffer, until: Date): Promise<void> {
  await db
    .insertInto('single_sign_on_ended')
    .values({ session_hash: hash, expires_at: until })
    .onConflict((conflict) => conflict.column('session_hash').doUpdateSet({ expires_at: until }))
    .execute();
}

export async function isProviderSessionEnded(db: Database, hash: Buffer): Promise<boolean> {
  const row = await db
    .selectFrom('single_sign_on_ended')
    .select('session_hash')
    .where('session_hash', '=', hash)
    .executeTakeFirst();
  return row !== undefined;
}

/** Open sessions that belong to a session at the provider. */
export async function listProviderSessions(
  db: Database,
  hash: Buffer,
): Promise<{ id: string; user_id: string }[]> {
  return db
    .selectFrom('sessions')
    .select(['id', 'user_id'])
    .where('provider_session_hash', '=', hash)
    .where('ended_at', 'is', null)
    .orderBy('id')
    .execute();
}

/** Sign-ins that wait for their second step. @returns how many. */
export async function deleteProviderPending(db: Database, hash: Buffer): Promise<number> {
  const result = await db
    .deleteFrom('pending_sign_ins')
    .where('provider_session_hash', '=', hash)
    .executeTakeFirst();
  return Number(result.numDeletedRows);
}

export interface CredentialRow {
  id: string;
  role: Role;
  password: boolean;
  factors: boolean;
  linked: boolean;
}

/** Everybody who can sign in, and by what. */
export async function listCredentials(db: Database): Promise<CredentialRow[]> {
  const { rows } = await sql<CredentialRow>`
    select u.id, u.role, u.password_hash is not null as password, l.user_id is not null as linked,
      (exists (select from passkeys p where p.user_id = u.id)
        or exists (select from authenticator_apps a where a.user_id = u.id and a.confirmed_at is not null)) as factors
    from users u
    left join linked_identities l on l.user_id = u.id and l.issuer = (select issuer from single_sign_on)
    where u.disabled_at is null order by u.id`.execute(db);
  return rows;
}

/** Whether an owner who can sign in has a password and a second factor here. @param without who does not count. */
export async function hasOwnerWithBoth(db: Database, without: readonly string[]): Promise<boolean> {
  const { rows } = await sql`
    select from users u
    where u.role = 'owner' and u.disabled_at is null and u.password_hash is not null
      and u.id <> all(${[...without]}::uuid[])
      and (exists (select from passkeys p where p.user_id = u.id)
        or exists (select from authenticator_apps a where a.user_id = u.id and a.confirmed_at is not null))
    limit 1`.execute(db);
  return rows.length > 0;
}

/** Everybody, held until the transaction ends: the owners first, as whoever changes a person does. */
export async function lockPeople(db: Database): Promise<void> {
  await lockOwnerIds(db);
  await db.selectFrom('users').select('id').orderBy('id').forNoKeyUpdate().execute();
}

export async function removePassword(db: Database, userId: string): Promise<boolean> {
  const result = await db
    .updateTable('users')
    .set((of) => ({ password_hash: null, password_changed_at: null, version: of('version', '+', '1') }))
    .where('id', '=', userId)
    .where('password_hash', 'is not', null)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}
