/**
 * People of this appliance. Name and e-mail lie sealed under each person's own subject key, so that destroying that key
 * erases them in every copy; sign-in finds a person by a blind index, which no backup carries.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { checkShownName } from '../../lib/shown-name.ts';
import type { FieldContext, FieldSealer, KeyClient } from '../../keys/index.ts';
import { deletePendingOf } from '../factors/queries.ts';
import { deleteLinksOf } from '../mail-links/queries.ts';
import { enterWhatIsDue } from '../registers/newcomers.ts';
import { hashPassword } from '../passwords/password-hash.ts';
import { queueMail, type QueueMailDeps } from '../../mail/index.ts';
import type { LeakDeps } from '../passwords/leaked-passwords.ts';
import { checkPassword } from '../passwords/password-policy.ts';
import {
  completeEmailIndex,
  deleteEmailHashes,
  findUser,
  insertEmailHash,
  insertUser,
  isEmailIndexWhole,
  listOwnerIds,
  listUserRows,
  listUsersByIds,
  lockEmailIndex,
  updatePasswordHash,
  type UserRow,
} from './queries.ts';
import type { Role, User } from '../schema.ts';
import { endSessionsOf, type EndReason, type SessionDeps } from '../sessions/sessions.ts';
import { requireLocalCredentials } from '../single-sign-on/local-credentials.ts';

export interface PeopleDeps extends SessionDeps {
  keys: Pick<KeyClient, 'applianceKey' | 'createSubjectKey'>;
  sealer: Pick<FieldSealer, 'seal' | 'open' | 'tryOpen' | 'blindIndex' | 'blindIndexes'>;
}

/** Whoever sets a password: it is looked up in lists that lie in the data folder. */
export type PasswordDeps = PeopleDeps & LeakDeps;

export interface NewPerson {
  name: string;
  email: string;
  /** Secret; null for somebody who comes in by single sign-on. */
  password: string | null;
  role: Role;
}

/** A person ready to be written: everything that is slow or leaves the database has been done. */
export interface PreparedPerson {
  userId: string;
  role: Role;
  subjectKeyId: string;
  nameSealed: Buffer;
  emailSealed: Buffer;
  emailHash: Buffer;
  passwordHash: string | null;
}

const EMAIL_CONTEXT = 'user-email';
const BATCH = 500;

/**
 * Checks a new person, makes their subject key and seals what is theirs. Nothing is written to the database; a subject key
 * that is then never used does no harm.
 *
 * @throws HoldfastError `invalid_input` for a password that is too short, too long, easy to guess or leaked.
 */
export async function preparePerson(deps: PasswordDeps, person: NewPerson): Promise<PreparedPerson> {
  const name = checkShownName(person.name);
  const email = person.email.trim();
  if (person.password !== null) await checkPassword(deps, person.password, [name, email]);
  const passwordHash = person.password === null ? null : await hashPassword(person.password);
  const userId = randomUUID();
  const { id: subjectKeyId } = await deps.keys.createSubjectKey(null);
  const [nameSealed, emailSealed] = await deps.sealer.seal([
    {
      keyId: subjectKeyId,
      purpose: 'person',
      context: personField('user-name', subjectKeyId, userId),
      value: name,
    },
    {
      keyId: subjectKeyId,
      purpose: 'person',
      context: personField('user-email', subjectKeyId, userId),
      value: email,
    },
  ]);
  if (nameSealed === undefined || emailSealed === undefined)
    throw new HoldfastError('internal', 'Sealing gave nothing back');
  const emailHash = await emailHashOf(deps, email);
  return { userId, role: person.role, subjectKeyId, nameSealed, emailSealed, emailHash, passwordHash };
}

/**
 * Writes a prepared person and the audit entry.
 *
 * @throws HoldfastError `conflict` when somebody has that e-mail already.
 */
export async function insertPerson(
  tx: WriteTransaction,
  deps: Pick<PeopleDeps, 'clock' | 'sealer'>,
  person: PreparedPerson,
  actor: Actor,
): Promise<void> {
  const now = deps.clock.now();
  await insertUser(tx, {
    id: person.userId,
    role: person.role,
    subject_key_id: person.subjectKeyId,
    name_sealed: person.nameSealed,
    email_sealed: person.emailSealed,
    password_hash: person.passwordHash,
    created_at: now,
    password_changed_at: person.passwordHash === null ? null : now,
  });
  await takeEmail(tx, person.emailHash, person.userId);
  await recordAudit(tx, deps.clock, actor, {
    action: 'identity.user.created',
    objectType: 'user',
    objectId: person.userId,
    detail: { role: person.role, due: await enterWhatIsDue(tx, deps, person) },
  });
}

/**
 * Sets a person's password, ends their sessions and every sign-in that has begun, and tells them.
 *
 * @throws HoldfastError `wrong_state` for somebody who comes in by single sign-on only.
 * @param passwordHash from `hashNewPassword`, made before the transaction because it is slow.
 */
export async function setPassword(
  tx: WriteTransaction,
  deps: QueueMailDeps,
  change: { userId: string; passwordHash: string; reason: EndReason },
  actor: Actor,
): Promise<void> {
  const user = await findUser(tx, change.userId);
  if (user !== undefined) await requireLocalCredentials(tx, user.role as Role);
  await updatePasswordHash(tx, change.userId, change.passwordHash, deps.clock.now());
  await deletePendingOf(tx, change.userId);
  await deleteLinksOf(tx, change.userId);
  const endedSessions = await endSessionsOf(tx, deps, change.userId, change.reason);
  await recordAudit(tx, deps.clock, actor, {
    action: 'identity.password.changed',
    objectType: 'user',
    objectId: change.userId,
    detail: { reason: change.reason, endedSessions },
  });
  const address = actor.address === undefined ? {} : { address: actor.address };
  await queueMail(tx, deps, {
    to: { userId: change.userId },
    template: 'security-notice',
    data: { what: 'Your password was changed', at: deps.clock.now().toISOString(), ...address },
  });
}

/**
 * Checks a new password for somebody who exists, and hashes it.
 *
 * @throws HoldfastError `invalid_input` as `preparePerson`; `not_found`.
 */
export async function hashNewPassword(deps: PasswordDeps, userId: string, password: string): Promise<string> {
  const user = await getPerson(deps, userId);
  await checkPassword(deps, password, [user.name, user.email]);
  return hashPassword(password);
}

/** @throws HoldfastError `not_found` */
export async function getPerson(deps: PeopleDeps, userId: string): Promise<User> {
  const row = await findUser(deps.db, userId);
  const [person] = row === undefined ? [] : await openPeople(deps, [row]);
  if (person === undefined) throw new HoldfastError('not_found', 'There is no such person');
  return { id: person.id, name: person.name, email: person.email, role: person.role };
}

/** Where mail for a person goes; undefined for somebody who is not here, or whose key does not open what is theirs. */
export async function findContact(
  deps: PeopleDeps,
  userId: string,
): Promise<{ name: string; email: string } | undefined> {
  const row = await findUser(deps.db, userId);
  if (row === undefined) return undefined;
  const [name, email] = await deps.sealer.tryOpen([nameRequest(row), emailRequest(row)]);
  if (!Buffer.isBuffer(name) || !Buffer.isBuffer(email)) return undefined;
  return { name: name.toString('utf8'), email: email.toString('utf8') };
}

export interface ListedPerson extends User {
  /** RFC 3339. */
  createdAt: string;
  disabled: boolean;
}

/** Everybody, for administrators at the console, by id. */
export async function listPeople(deps: PeopleDeps): Promise<ListedPerson[]> {
  const people: ListedPerson[] = [];
  for await (const rows of allUserRows(deps)) people.push(...(await openPeople(deps, rows)));
  return people;
}

/** Some people by their ids, in no order; unknown ids are left out. */
export async function namePeople(
  deps: Pick<PeopleDeps, 'db' | 'sealer'>,
  ids: readonly string[],
): Promise<Map<string, ListedPerson>> {
  const people = await openPeople(deps, await listUsersByIds(deps.db, ids));
  return new Map(people.map((person) => [person.id, person]));
}

/** Ids of the owners who can sign in. */
export async function listOwners(deps: Pick<PeopleDeps, 'db'>): Promise<string[]> {
  return listOwnerIds(deps.db);
}

/**
 * Fills the look-up table for e-mails again: it is UNLOGGED, so a crash of the database or a restore empties it. Called at every start, before
 * anyone can sign in, and whenever somebody is looked up while it is not whole: a crash beneath a running server stops nobody from
 * signing in, and gives no address away twice.
 *
 * @param when `lost`: only where it is not whole, such as not after another process has just done it.
 * @returns how many people can be found by e-mail; undefined when there was nothing to do.
 */
export async function rebuildEmailIndex(
  deps: PeopleDeps,
  when: 'always' | 'lost' = 'always',
): Promise<number | undefined> {
  const { id: keyId } = await deps.keys.applianceKey();
  return writeTransaction(deps.db, async (tx) => {
    await lockEmailIndex(tx);
    if (when === 'lost' && (await isEmailIndexWhole(tx))) return undefined;
    await deleteEmailHashes(tx);
    let count = 0;
    for await (const rows of allUserRows({ db: tx })) {
      const emails = await deps.sealer.tryOpen(rows.map(emailRequest));
      const readable = rows.flatMap((row, index) => {
        const email = emails[index];
        return Buffer.isBuffer(email) ? [{ id: row.id, email: normaliseEmail(email.toString('utf8')) }] : [];
      });
      const hashes = await deps.sealer.blindIndexes(
        keyId,
        readable.map(({ email }) => ({ context: EMAIL_CONTEXT, value: email })),
      );
      for (const [index, { id }] of readable.entries()) {
        const hash = hashes[index];
        if (hash !== undefined && (await insertEmailHash(tx, hash, id))) count += 1;
      }
    }
    await completeEmailIndex(tx);
    return count;
  });
}

/** Before anybody is looked up, or given an address. */
export async function ensureEmailIndex(deps: PeopleDeps): Promise<void> {
  if (!(await isEmailIndexWhole(deps.db))) await rebuildEmailIndex(deps, 'lost');
}

/**
 * Gives somebody the address, in the transaction of the act.
 *
 * @throws HoldfastError `conflict` when it is somebody else's; `unavailable` when the database crashed since the hash was made.
 */
export async function takeEmail(tx: WriteTransaction, emailHash: Buffer, userId: string): Promise<void> {
  if (!(await isEmailIndexWhole(tx)))
    throw new HoldfastError(
      'unavailable',
      'The index of e-mail addresses was lost with a crash of the database',
      {
        hint: 'Try again: it is built anew.',
      },
    );
  if (!(await insertEmailHash(tx, emailHash, userId)))
    throw new HoldfastError('conflict', 'Somebody with this e-mail address exists already');
}

/** What a person is looked up by; the index is whole when this returns. */
export async function emailHashOf(deps: PeopleDeps, email: string): Promise<Buffer> {
  await ensureEmailIndex(deps);
  const { id } = await deps.keys.applianceKey();
  return deps.sealer.blindIndex(id, EMAIL_CONTEXT, normaliseEmail(email));
}

/** What of a person's row is needed to say who they are. */
export type SealedPerson = Pick<
  UserRow,
  'id' | 'role' | 'subject_key_id' | 'name_sealed' | 'email_sealed' | 'created_at' | 'disabled_at'
>;

export async function openPeople(
  deps: Pick<PeopleDeps, 'sealer'>,
  rows: readonly SealedPerson[],
): Promise<ListedPerson[]> {
  const opened = await deps.sealer.tryOpen(rows.flatMap((row) => [nameRequest(row), emailRequest(row)]));
  return rows.map((row, index) => ({
    id: row.id,
    name: textOf(opened[2 * index]),
    email: textOf(opened[2 * index + 1]),
    role: row.role as Role,
    createdAt: row.created_at.toISOString(),
    disabled: row.disabled_at !== null,
  }));
}

/** A person whose key was destroyed or disabled is still listed, without what only the key opens. */
function textOf(opened: Buffer | Error | undefined): string {
  return Buffer.isBuffer(opened) ? opened.toString('utf8') : '(unreadable)';
}

export async function* allUserRows(deps: Pick<PeopleDeps, 'db'>): AsyncGenerator<UserRow[]> {
  let after: string | undefined;
  for (;;) {
    const rows = await listUserRows(deps.db, after, BATCH);
    if (rows.length > 0) yield rows;
    if (rows.length < BATCH) return;
    after = rows.at(-1)?.id;
  }
}

function nameRequest(row: SealedPerson) {
  const context = personField('user-name', row.subject_key_id, row.id);
  return { keyId: row.subject_key_id, purpose: 'person' as const, context, sealed: row.name_sealed };
}

function emailRequest(row: SealedPerson) {
  const context = personField('user-email', row.subject_key_id, row.id);
  return { keyId: row.subject_key_id, purpose: 'person' as const, context, sealed: row.email_sealed };
}

export function personField(type: string, subjectKeyId: string, userId: string): FieldContext {
  return { type, workspaceId: '', subjectId: subjectKeyId, objectId: userId, version: '' };
}

/** Mailbox names are case-sensitive by RFC 5321, and nowhere in practice: two people must not differ by case alone. */
export function normaliseEmail(email: string): string {
  return email.trim().normalize('NFC').toLowerCase();
}
