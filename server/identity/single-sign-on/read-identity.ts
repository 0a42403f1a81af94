/**
 * Exchanges the code for who the provider says the person is. Guarantees: code, PKCE, nonce, issuer, audience and times are checked by
 * `openid-client`, the signature of the ID token by the provider's public keys; claims come from the ID token, and from the userinfo
 * endpoint only for the same subject.
 */
import type { JWTPayload } from 'jose';
import { messageOf, HoldfastError } from '../../lib/errors.ts';
import type { PeopleDeps } from '../people/people.ts';
import { RETURN_PATH, type Returned, type TakenAttempt } from './attempts.ts';
import { CLOCK_TOLERANCE_S, openProvider, SIGNATURE_ALGORITHMS, type Provider } from './provider.ts';
import { findProvider } from './queries.ts';
import { SingleSignOnRefusal } from './refusal.ts';

export interface ProviderIdentity {
  provider: Provider;
  subject: string;
  /** The provider's name for the session there. */
  sid: string | undefined;
  email: string | undefined;
  emailVerified: boolean | undefined;
  name: string | undefined;
  /** Undefined: the settings do not ask for them. */
  groups: string[] | undefined;
  /** Whether the provider vouches for a second factor, by a value that the settings name. */
  strong: boolean;
  /** When the person last signed in there, in seconds since 1970. */
  authenticatedAt: number | undefined;
}

const MOST_GROUPS = 2_000;
const MOST_TEXT = 1_024;

/** @throws SingleSignOnRefusal */
export async function readIdentity(
  deps: PeopleDeps,
  attempt: TakenAttempt,
  returned: Returned,
): Promise<ProviderIdentity> {
  const row = await findProvider(deps.db);
  if (row?.enabled !== true || row.version !== attempt.row.settings_version)
    throw new SingleSignOnRefusal('switched-off');
  if (returned.code === undefined)
    throw new SingleSignOnRefusal('provider-said-no', { detail: plain(returned.error ?? 'no code') });
  const provider = await openProvider(deps, row).catch((cause: unknown) => {
    throw new SingleSignOnRefusal('unreachable', { detail: messageOf(cause), cause });
  });
  const tokens = await exchange(provider, attempt, returned, returned.code);
  const claims = await verifySignature(deps, provider, tokens.idToken);
  return describe(provider, claims, await askMore(provider, claims, tokens.accessToken));
}

async function exchange(
  { configuration }: Provider,
  attempt: TakenAttempt,
  returned: Returned,
  code: string,
): Promise<{ idToken: string; accessToken: string }> {
  const oidc = await import('openid-client');
  const url = new URL(`${attempt.row.origin}${RETURN_PATH}`);
  url.search = new URLSearchParams({
    ...{ code, state: returned.state },
    ...(returned.iss === undefined ? {} : { iss: returned.iss }),
  }).toString();
  try {
    const tokens = await oidc.authorizationCodeGrant(configuration, url, {
      ...{ pkceCodeVerifier: attempt.verifier, expectedState: returned.state, expectedNonce: attempt.nonce },
      idTokenExpected: true,
    });
    return { idToken: tokens.id_token ?? '', accessToken: tokens.access_token };
  } catch (cause) {
    throw new SingleSignOnRefusal('not-exchanged', { detail: whatItSaid(cause), cause });
  }
}

async function verifySignature(
  deps: Pick<PeopleDeps, 'clock'>,
  { keyFor, issuer, row }: Provider,
  idToken: string,
): Promise<JWTPayload & { sub: string }> {
  const { jwtVerify } = await import('jose');
  try {
    const { payload } = await jwtVerify(idToken, keyFor, {
      ...{ issuer, audience: row.client_id, algorithms: SIGNATURE_ALGORITHMS },
      ...{
        currentDate: deps.clock.now(),
        clockTolerance: CLOCK_TOLERANCE_S,
        requiredClaims: ['sub', 'iat', 'exp'],
      },
    });
    const { sub } = payload;
    if (typeof sub !== 'string' || sub === '' || sub.length > MOST_TEXT) throw new Error('no usable subject');
    return { ...payload, sub };
  } catch (cause) {
    const reason = cause instanceof HoldfastError ? 'unreachable' : 'bad-signature';
    throw new SingleSignOnRefusal(reason, { detail: messageOf(cause), cause });
  }
}

/** Many providers tell of e-mail address and groups there only. */
async function askMore(
  { configuration, row }: Provider,
  claims: JWTPayload & { sub: string },
  accessToken: string,
): Promise<Record<string, unknown>> {
  const wanted = ['email', 'name', ...(row.groups_claim === null ? [] : [row.groups_claim])];
  const endpoint = configuration.serverMetadata().userinfo_endpoint;
  if (endpoint === undefined || wanted.every((name) => claims[name] !== undefined)) return {};
  const oidc = await import('openid-client');
  try {
    return await oidc.fetchUserInfo(configuration, accessToken, claims.sub);
  } catch (cause) {
    throw new SingleSignOnRefusal('not-exchanged', { detail: `userinfo: ${whatItSaid(cause)}`, cause });
  }
}

function describe(
  provider: Provider,
  claims: JWTPayload & { sub: string },
  more: Record<string, unknown>,
): ProviderIdentity {
  const { row } = provider;
  // What is signed goes first.
  const all: Record<string, unknown> = { ...more, ...claims };
  const { acr, amr } = claims;
  const amrs = Array.isArray(amr) ? amr.filter((one) => typeof one === 'string') : [];
  const strong =
    (typeof acr === 'string' && row.strong_acr.includes(acr)) ||
    amrs.some((one) => row.strong_amr.includes(one));
  return {
    ...{ provider, subject: claims.sub, strong, groups: groupsOf(all, row.groups_claim) },
    sid: textOf(claims.sid),
    email: textOf(all.email),
    emailVerified: typeof all.email_verified === 'boolean' ? all.email_verified : undefined,
    name: textOf(all.name) ?? textOf(all.preferred_username),
    authenticatedAt: typeof claims.auth_time === 'number' ? claims.auth_time : undefined,
  };
}

/** A claim that is not there means no groups; one that the provider left out says so (OpenID Connect Core 1.0, section 5.6.2). */
function groupsOf(all: Record<string, unknown>, claim: string | null): string[] | undefined {
  if (claim === null) return undefined;
  const elsewhere = all._claim_names;
  if (typeof elsewhere === 'object' && elsewhere !== null && claim in elsewhere)
    throw new SingleSignOnRefusal('groups-left-out');
  const found = all[claim];
  const list = typeof found === 'string' ? [found] : Array.isArray(found) ? found : [];
  if (list.length > MOST_GROUPS)
    throw new SingleSignOnRefusal('groups-left-out', { detail: `${list.length} groups` });
  return list.filter((one): one is string => typeof one === 'string');
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' && value.length <= MOST_TEXT ? value : undefined;
}

/** The provider's own words and the library's, without what they are about: that may be a token. */
function whatItSaid(cause: unknown): string {
  const said = cause as { error?: unknown; code?: unknown; message?: unknown };
  return plain([said.code, said.error, said.message].filter((part) => typeof part === 'string').join(' '));
}

function plain(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, 300);
}
