/** Making, rotating and revoking API keys. A person makes keys for themselves only, and never with more than they may do. */
import { randomUUID } from 'node:crypto';
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { checkShownName } from '../../lib/shown-name.ts';
import { queueMail } from '../../mail/index.ts';
import type { Person } from '../access.ts';
import { findContact, type PeopleDeps } from '../people/people.ts';
import { lockUser } from '../people/queries.ts';
import { hasRight, type Right } from '../rights.ts';
import { checkNetworks } from './networks.ts';
import {
  countLiveKeys,
  insertKey,
  listKeyRows,
  lockEndingKeys,
  lockKey,
  revokeAllKeys,
  updateKey,
  type KeyRow,
} from './queries.ts';
import {
  DEFAULT_DAYS,
  MOST_KEYS,
  OPERATION_RIGHTS,
  WORKSPACE_RIGHTS,
  type ApiKey,
  type ApiKeys,
  type MadeApiKey,
  type NewApiKey,
  type Rotation,
} from './schema.ts';
import { encodeToken, hashSecret, makePrefix, makeSecret } from './token.ts';

/** A workspace as far as keys need to know. */
export interface KeyWorkspace {
  id: string;
  name: string;
  role: 'manager' | 'editor' | 'viewer';
}

export interface ApiKeyDeps extends PeopleDeps {
  /** Those a person is a member of; given when the server is put together, because workspaces stand to the right. */
  workspacesOf(userId: string): Promise<KeyWorkspace[]>;
}

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const TELL_BEFORE_MS = 7 * DAY_MS;

/** @param all of everybody, for whom may see them. @throws HoldfastError `forbidden` */
export async function listApiKeys(deps: ApiKeyDeps, person: Person, all: boolean): Promise<ApiKeys> {
  if (all && !hasRight(person.role, 'api-keys.manage')) throw notYours();
  const [rows, workspaces] = await Promise.all([
    listKeyRows(deps.db, all ? undefined : person.userId),
    deps.workspacesOf(person.userId),
  ]);
  const owners = await namesOf(deps, rows);
  return {
    items: rows.map((row) => toKey(deps, row, owners, workspaces)),
    scopes: scopesOf(person, workspaces),
  };
}

/**
 * @throws HoldfastError `not_found` for a workspace that the person is no member of; `invalid_input` for rights that do not fit;
 *   `wrong_state` when there are too many.
 */
export async function makeApiKey(
  deps: ApiKeyDeps,
  person: Person,
  wanted: NewApiKey,
  actor: Actor,
): Promise<MadeApiKey> {
  const workspaces = await deps.workspacesOf(person.userId);
  checkRights(person, wanted, workspaces);
  const name = checkShownName(wanted.name);
  const networks = checkNetworks(wanted.networks ?? []);
  const [prefix, secret, id] = [makePrefix(), makeSecret(), randomUUID()];
  const row = await writeTransaction(deps.db, async (tx) => {
    const now = deps.clock.now();
    // Whoever ends their account waits for this key and revokes it, or is done before.
    const held = await lockUser(tx, person.userId);
    if (held?.disabled_at !== null || held.role !== person.role)
      throw new HoldfastError('unauthenticated', 'Sign in first');
    if ((await countLiveKeys(tx, person.userId, now)) >= MOST_KEYS) {
      throw new HoldfastError('wrong_state', `You have ${MOST_KEYS} API keys already`, {
        hint: 'Revoke one that is not used any more.',
      });
    }
    const made = await insertKey(tx, {
      ...{ id, user_id: person.userId, workspace_id: wanted.workspaceId, name, prefix, networks },
      ...{ secret_hash: hashSecret(secret), rights: [...new Set(wanted.rights)], created_at: now },
      expires_at: new Date(now.getTime() + (wanted.days ?? DEFAULT_DAYS) * DAY_MS),
    });
    await record(deps, tx, actor, 'made', made, {
      ...{ rights: made.rights, networks: made.networks, expiresAt: made.expires_at.toISOString() },
    });
    await tellOwner(deps, tx, made, `A new API key acts for you: ${made.name}`, actor);
    return made;
  });
  const owners = await namesOf(deps, [row]);
  return { key: toKey(deps, row, owners, workspaces), token: encodeToken({ prefix, secret }) };
}

/**
 * A new secret for one's own key; the old one counts for as long as was asked for.
 *
 * @throws HoldfastError `not_found` for another's key; `wrong_state` for one that ended.
 */
export async function rotateApiKey(
  deps: ApiKeyDeps,
  person: Person,
  id: string,
  { overlapHours = 24, days = DEFAULT_DAYS }: Rotation,
  actor: Actor,
): Promise<MadeApiKey> {
  const secret = makeSecret();
  const row = await writeTransaction(deps.db, async (tx) => {
    const before = await lockKey(tx, id);
    if (before?.user_id !== person.userId) throw noSuchKey();
    const now = deps.clock.now();
    if (before.revoked_at !== null || before.expires_at <= now) {
      throw new HoldfastError('wrong_state', 'This API key has ended', { hint: 'Make a new one.' });
    }
    const until = overlapHours === 0 ? null : new Date(now.getTime() + overlapHours * HOUR_MS);
    const rotated = await updateKey(tx, id, {
      secret_hash: hashSecret(secret),
      previous_secret_hash: until === null ? null : before.secret_hash,
      previous_until: until,
      ...{ rotated_at: now, told_at: null, expires_at: new Date(now.getTime() + days * DAY_MS) },
    });
    await record(deps, tx, actor, 'rotated', rotated, {
      ...{ overlapHours, expiresAt: rotated.expires_at.toISOString() },
    });
    await tellOwner(deps, tx, rotated, `Your API key ${rotated.name} has a new secret`, actor);
    return rotated;
  });
  const [owners, workspaces] = [await namesOf(deps, [row]), await deps.workspacesOf(person.userId)];
  return {
    key: toKey(deps, row, owners, workspaces),
    token: encodeToken({ prefix: row.prefix, secret }),
  };
}

/**
 * Ends a key at once: one's own, or anyone's for whom may. Idempotent.
 *
 * @throws HoldfastError `not_found` for a key that one may not know of.
 */
export async function revokeApiKey(
  deps: ApiKeyDeps,
  person: Person,
  id: string,
  actor: Actor,
): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const row = await lockKey(tx, id);
    const own = row?.user_id === person.userId;
    if (row === undefined || (!own && !hasRight(person.role, 'api-keys.manage'))) throw noSuchKey();
    if (row.revoked_at !== null) return;
    await updateKey(tx, id, {
      ...{ revoked_at: deps.clock.now(), revoked_because: own ? 'revoked' : 'revoked-by-administrator' },
      ...{ previous_secret_hash: null, previous_until: null },
    });
    await record(deps, tx, actor, 'revoked', row, { by: own ? 'person' : 'administrator' });
    if (!own) await tellOwner(deps, tx, row, `Your API key ${row.name} was revoked`, actor);
  });
}

/** Ends every key of a person, in the transaction of the act that is the reason. @returns how many were open. */
export async function revokeKeysOf(
  tx: WriteTransaction,
  deps: Pick<PeopleDeps, 'clock'>,
  userId: string,
  because: string,
): Promise<number> {
  return revokeAllKeys(tx, userId, deps.clock.now(), because);
}

/** Writes once to whoever has a key that runs out within a week. */
export async function tellOfEndingKeys(deps: PeopleDeps): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const now = deps.clock.now();
    const ending = await lockEndingKeys(tx, now, new Date(now.getTime() + TELL_BEFORE_MS));
    for (const row of ending) {
      await queueMail(tx, deps, {
        to: { userId: row.user_id },
        template: 'api-key-ending',
        data: { name: row.name, prefix: row.prefix, expiresAt: row.expires_at.toISOString() },
      });
      await updateKey(tx, row.id, { told_at: now });
    }
  });
}

function checkRights(person: Person, wanted: NewApiKey, workspaces: readonly KeyWorkspace[]): void {
  if (wanted.workspaceId !== null && !workspaces.some(({ id }) => id === wanted.workspaceId))
    throw new HoldfastError('not_found', 'There is no such workspace');
  const fitting = rightsFor(person, wanted.workspaceId);
  const odd = wanted.rights.find((right) => !fitting.includes(right));
  if (odd === undefined) return;
  throw new HoldfastError('invalid_input', `This key cannot have the right ${odd}`, {
    hint:
      fitting.length === 0
        ? 'Your role has nothing that such a key could do.'
        : `It may have: ${fitting.join(', ')}.`,
  });
}

function rightsFor(person: Person, workspaceId: string | null): Right[] {
  const all = workspaceId === null ? OPERATION_RIGHTS : WORKSPACE_RIGHTS;
  return all.filter((right) => hasRight(person.role, right));
}

function scopesOf(person: Person, workspaces: readonly KeyWorkspace[]): ApiKeys['scopes'] {
  return [
    ...workspaces.map(({ id, name }) => ({ workspaceId: id, name, rights: rightsFor(person, id) })),
    { workspaceId: null, name: 'Operations of the appliance', rights: rightsFor(person, null) },
  ].filter(({ rights }) => rights.length > 0);
}

async function record(
  deps: Pick<PeopleDeps, 'clock'>,
  tx: WriteTransaction,
  actor: Actor,
  verb: 'made' | 'rotated' | 'revoked',
  row: KeyRow,
  detail: Record<string, unknown>,
): Promise<void> {
  await recordAudit(tx, deps.clock, actor, {
    action: `identity.api-key.${verb}`,
    objectType: 'api-key',
    objectId: row.id,
    workspaceId: row.workspace_id,
    detail: { prefix: row.prefix, userId: row.user_id, ...detail },
  });
}

async function tellOwner(
  deps: PeopleDeps,
  tx: WriteTransaction,
  row: KeyRow,
  what: string,
  actor: Actor,
): Promise<void> {
  await queueMail(tx, deps, {
    to: { userId: row.user_id },
    template: 'security-notice',
    data: {
      what,
      at: deps.clock.now().toISOString(),
      ...(actor.address === undefined ? {} : { address: actor.address }),
    },
  });
}

async function namesOf(deps: PeopleDeps, rows: readonly KeyRow[]): Promise<Map<string, string>> {
  const ids = [...new Set(rows.map((row) => row.user_id))];
  const names = await Promise.all(
    ids.map(async (id) => [id, (await findContact(deps, id))?.name ?? '(unreadable)'] as const),
  );
  return new Map(names);
}

function toKey(
  deps: Pick<PeopleDeps, 'clock'>,
  row: KeyRow,
  owners: ReadonlyMap<string, string>,
  workspaces: readonly KeyWorkspace[],
): ApiKey {
  const ended = row.expires_at <= deps.clock.now() ? 'expired' : 'active';
  return {
    id: row.id,
    userId: row.user_id,
    owner: owners.get(row.user_id) ?? '',
    name: row.name,
    prefix: `hf_${row.prefix}`,
    workspaceId: row.workspace_id,
    workspace: workspaces.find(({ id }) => id === row.workspace_id)?.name ?? null,
    rights: row.rights as Right[],
    networks: row.networks,
    state: row.revoked_at === null ? ended : 'revoked',
    createdAt: row.created_at.toISOString(),
    rotatedAt: row.rotated_at?.toISOString() ?? null,
    previousUntil: row.previous_until?.toISOString() ?? null,
    expiresAt: row.expires_at.toISOString(),
    revokedAt: row.revoked_at?.toISOString() ?? null,
    lastUsedAt: row.last_used_at?.toISOString() ?? null,
    lastUsedAddress: row.last_used_address,
  };
}

function noSuchKey(): HoldfastError {
  return new HoldfastError('not_found', 'There is no such API key');
}

function notYours(): HoldfastError {
  return new HoldfastError('forbidden', 'Your role does not see the keys of others');
}
