/**
 * The provider as it describes itself, and its keys. Kept for ten minutes in each process, fetched once at a time; a key that is not
 * known is looked for again, but no more than every ten seconds, so that nobody can make us ask the provider without end.
 */
import type { JWTHeaderParameters, JWTVerifyGetKey, JSONWebKeySet } from 'jose';
import type { Configuration } from 'openid-client';
import type { FieldContext } from '../../keys/index.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { PeopleDeps } from '../people/people.ts';
import { explainProvider } from './explain.ts';
import { limitedFetch, type LimitedFetch } from './limited-fetch.ts';
import type { ProviderRow } from './queries.ts';

const KEEP_MS = 10 * 60_000;
const ASK_AGAIN_AFTER_MS = 10_000;
const MOST_KEYS = 100;
export const CLOCK_TOLERANCE_S = 60;

/** Signatures of public keys only: with a shared secret, or without any, a token would prove nothing (RFC 8725, section 3.1). */
export const SIGNATURE_ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
];

export const SECRET_FIELD: FieldContext = {
  ...{
    type: 'single-sign-on-secret',
    workspaceId: '',
    subjectId: '',
    objectId: 'single-sign-on',
    version: '',
  },
};

export interface Provider {
  row: ProviderRow;
  /** As the provider calls itself; equal to the setting but for its spelling. */
  issuer: string;
  configuration: Configuration;
  /** For `jwtVerify`. */
  keyFor: JWTVerifyGetKey;
}

type Deps = Pick<PeopleDeps, 'db' | 'keys' | 'sealer' | 'clock'>;

interface Kept {
  version: string;
  atMs: number;
  provider: Promise<Provider>;
  failed: boolean;
}

const kept = new WeakMap<Database, Kept>();

/** @throws HoldfastError `unavailable` that says in plain words what is wrong with the provider. */
export async function openProvider(deps: Deps, row: ProviderRow): Promise<Provider> {
  const present = kept.get(deps.db);
  const version = `${row.changed_at.getTime()} ${row.version}`;
  const age = present === undefined ? Infinity : deps.clock.monotonicMs() - present.atMs;
  const good = age >= 0 && age < (present?.failed === true ? ASK_AGAIN_AFTER_MS / 2 : KEEP_MS);
  if (present?.version === version && good) return present.provider;
  const next: Kept = {
    ...{ version, atMs: deps.clock.monotonicMs(), failed: false },
    provider: discover(deps, row),
  };
  next.provider.catch(() => {
    next.failed = true;
  });
  kept.set(deps.db, next);
  return next.provider;
}

async function discover(deps: Deps, row: ProviderRow): Promise<Provider> {
  const { id: keyId } = await deps.keys.applianceKey();
  const [secret] = await deps.sealer.open([
    { keyId, purpose: 'secrets', context: SECRET_FIELD, sealed: row.client_secret_sealed },
  ]);
  // Loaded when somebody first signs in by it: a start does not need it.
  const oidc = await import('openid-client');
  const fetched = limitedFetch(row.ca_certificates);
  const configuration = await discovered(row.issuer, fetched, {
    clientId: row.client_id,
    clientSecret: secret?.toString('utf8') ?? '',
  });
  configuration[oidc.customFetch] = (url, asked) => fetched(url, asked);
  const { issuer, jwks_uri: address } = configuration.serverMetadata();
  const keyFor = await keySet(deps.clock, () => fetchKeys(fetched, address ?? ''));
  return { row, issuer, configuration, keyFor };
}

/** @throws HoldfastError `unavailable` */
export async function discovered(
  issuer: string,
  fetched: LimitedFetch,
  client: { clientId: string; clientSecret: string },
): Promise<Configuration> {
  const oidc = await import('openid-client');
  try {
    return await oidc.discovery(
      new URL(issuer),
      client.clientId,
      { [oidc.clockTolerance]: CLOCK_TOLERANCE_S },
      // Chosen by what the provider says that it takes; RFC 6749 asks every provider for the first.
      (server, ...rest) => {
        const offered = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic'];
        const basic = offered.includes('client_secret_basic') || !offered.includes('client_secret_post');
        return (basic ? oidc.ClientSecretBasic : oidc.ClientSecretPost)(client.clientSecret)(server, ...rest);
      },
      { algorithm: 'oidc', timeout: 15, [oidc.customFetch]: (url, asked) => fetched(url, asked) },
    );
  } catch (error) {
    throw explainProvider(error, issuer);
  }
}

/** @throws HoldfastError `unavailable` */
export async function fetchKeys(fetched: LimitedFetch, address: string): Promise<JSONWebKeySet> {
  let answer: Response;
  try {
    answer = await fetched(address, { headers: { accept: 'application/json' } });
  } catch (error) {
    throw explainProvider(error, address);
  }
  const set: unknown = answer.status === 200 ? await answer.json().catch(() => undefined) : undefined;
  if (isKeySet(set)) return set;
  throw new HoldfastError('unavailable', 'The keys of the provider cannot be read', {
    hint: `Its description says that they are at ${address}.`,
  });
}

function isKeySet(value: unknown): value is JSONWebKeySet {
  const keys: unknown =
    typeof value === 'object' && value !== null && 'keys' in value ? value.keys : undefined;
  return Array.isArray(keys) && keys.length <= MOST_KEYS;
}

/** Looks keys up by what the head of a token says, and asks for new ones when there is none that fits. */
async function keySet(clock: Clock, ask: () => Promise<JSONWebKeySet>): Promise<JWTVerifyGetKey> {
  const { createLocalJWKSet, errors } = await import('jose');
  let atMs = -Infinity;
  let find: Promise<JWTVerifyGetKey> | undefined;
  const renew = () => {
    atMs = clock.monotonicMs();
    const asked = ask().then((set): JWTVerifyGetKey => createLocalJWKSet(set));
    asked.catch(() => {
      if (find === asked) find = undefined;
    });
    return (find = asked);
  };
  return async (header: JWTHeaderParameters, token) => {
    const age = () => clock.monotonicMs() - atMs;
    const present = find === undefined || age() > KEEP_MS ? renew() : find;
    try {
      return await (
        await present
      )(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || age() < ASK_AGAIN_AFTER_MS) throw error;
      return (await renew())(header, token);
    }
  };
}
