/**
 * The person behind an API key. Guarantees: a key that was revoked, ran out or whose person is no more is refused with the next
 * request, whichever process gets it; nothing about a key is cached. What it may do is what it was given and its person may do now.
 */
import { HoldfastError } from '../../lib/errors.ts';
import type { Person } from '../access.ts';
import { needsSecondFactor } from '../factors/methods.ts';
import { facts, type Right } from '../rights.ts';
import type { Role } from '../schema.ts';
import type { SessionDeps } from '../sessions/sessions.ts';
import { isAllowedFrom } from './networks.ts';
import { findKeyByPrefix, type FoundKeyRow, type KeyRow } from './queries.ts';
import { decodeToken, isSecret } from './token.ts';

/** What is known of the key that a request came with. */
export interface UsedKey {
  id: string;
  prefix: string;
  userId: string;
  /** Null: of the appliance's operations. */
  workspaceId: string | null;
  rights: readonly Right[];
}

/** The token of `Authorization: Bearer`; undefined for a request without one. */
export function readBearer(authorization: string | undefined): string | undefined {
  return /^bearer +(\S{1,512})\s*$/i.exec(authorization ?? '')?.[1];
}

/**
 * @returns the key and its person, also where `refusal` says why it does not count: `unauthenticated` for one that ran out or was revoked,
 *   `forbidden` from a network that it is not for. Whoever asks had its secret, so the logs may name it.
 * @throws HoldfastError `unauthenticated` for a key that is none.
 */
export async function findKeyPerson(
  deps: SessionDeps,
  bearer: string,
  address: string,
): Promise<{ key: UsedKey; person: Person; refusal: HoldfastError | undefined }> {
  const token = decodeToken(bearer);
  const row = token && (await findKeyByPrefix(deps.db, token.prefix));
  const now = deps.clock.now();
  if (token === undefined || row === undefined || !matches(token.secret, row, now))
    throw refused('This API key is not valid');
  const key = {
    ...{ id: row.id, prefix: row.prefix, userId: row.user_id, workspaceId: row.workspace_id },
    rights: row.rights as Right[],
  };
  const person = {
    ...{ userId: row.user_id, role: row.role as Role, sessionId: '', methods: [], apiKey: key },
    // As a session without the factor: whoever must have one may have got that duty after the key was made.
    restricted: lacksFactor(row),
    // Never: whatever asks for a fresh proof is closed to keys.
    authenticatedAt: new Date(0),
    // A key of operations opens no workspace at all.
    onlyWorkspaceId: row.workspace_id ?? 'none',
  };
  return { key, person, refusal: whyRefused(row, now, address) };
}

function whyRefused(row: FoundKeyRow, now: Date, address: string): HoldfastError | undefined {
  if (row.revoked_at !== null || row.disabled_at !== null) return refused('This API key was revoked');
  if (row.expires_at <= now) return refused(`This API key ran out on ${row.expires_at.toISOString()}`);
  if (isAllowedFrom(row.networks, address)) return undefined;
  return new HoldfastError('forbidden', 'This API key may not be used from this address', {
    hint: 'Make one for this network, or one without networks.',
    detail: `key ${row.prefix}, address ${address}`,
  });
}

/** Whether the key was given a right that keys may have. Its person must have it as well. */
export function keyHas(key: UsedKey, right: Right): boolean {
  return facts(right).apiKeys && key.rights.includes(right);
}

/** For streams, which outlive the request. */
export async function isKeyStillGood(deps: SessionDeps, key: UsedKey, role: Role): Promise<boolean> {
  const row = await findKeyByPrefix(deps.db, key.prefix);
  return (
    row?.revoked_at === null &&
    row.disabled_at === null &&
    row.expires_at > deps.clock.now() &&
    row.role === role &&
    !lacksFactor(row)
  );
}

function lacksFactor(row: FoundKeyRow): boolean {
  const needed = needsSecondFactor(row.role as Role, row.members_need_second_factor === true);
  return needed && row.has_second_factor !== true;
}

function matches(secret: string, row: KeyRow, now: Date): boolean {
  if (isSecret(secret, row.secret_hash)) return true;
  const { previous_secret_hash: previous, previous_until: until } = row;
  return previous !== null && until !== null && until > now && isSecret(secret, previous);
}

function refused(message: string): HoldfastError {
  return new HoldfastError('unauthenticated', message, {
    hint: 'Make a new one on the page API keys, or rotate it before it runs out.',
  });
}
