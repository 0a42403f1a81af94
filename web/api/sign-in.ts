/** The steps of a sign-in, and how a person signs in. Passkeys are made and asked by the browser, through @simplewebauthn/browser. */
import type {
  FactorAdded,
  FactorKind,
  NewAuthenticatorApp,
  SecondStep,
  SignInWays,
} from '../../server/identity/factors/schema.ts';
import type { PasswordChange } from '../../server/identity/passwords/schema.ts';
import type { Session, SignInRequest } from '../../server/identity/schema.ts';
import { ApiError, request } from './client.ts';
import { getOwnLink } from './single-sign-on.ts';

export type { FactorKind, Passkey, SecondStep, SignInWays } from '../../server/identity/factors/schema.ts';

type Options<T extends (options: never) => unknown> = Parameters<T>[0] extends { optionsJSON: infer O }
  ? O
  : never;
type Library = typeof import('@simplewebauthn/browser');

export const signIn = (body: SignInRequest): Promise<Session | SecondStep> =>
  request('/session', { method: 'POST', body });

export const giveCode = (kind: 'totp' | 'recovery-code', code: string): Promise<Session> =>
  request('/session/second-factor', { method: 'POST', body: { kind, code } });

export async function givePasskey(): Promise<Session> {
  const response = await askPasskey('second');
  return request('/session/second-factor', { method: 'POST', body: { kind: 'passkey', response } });
}

/** With a passkey and nothing else: the browser shows which there are. */
export async function signInWithPasskey(): Promise<Session> {
  const response = await askPasskey('first');
  return request('/session/passkey', { method: 'POST', body: { response } });
}

const askPasskey = (step: 'first' | 'second'): Promise<unknown> =>
  answerWithPasskey('/session/passkey-options', { step });

async function answerWithPasskey(path: string, body?: object): Promise<unknown> {
  const { options } = await request<{ options: Options<Library['startAuthentication']> }>(path, {
    method: 'POST',
    body,
  });
  const { startAuthentication } = await import('@simplewebauthn/browser');
  return startAuthentication({ optionsJSON: options }).catch(explain);
}

/** `provider`: a sign-in at the provider of single sign-on, in a window of its own. */
export type ProofWay = 'password' | 'provider' | FactorKind;

export const FACTOR_TITLES: Record<FactorKind | 'provider', string> = {
  provider: 'Use single sign-on',
  passkey: 'Use a passkey',
  totp: 'Use the authenticator app',
  'recovery-code': 'Use a recovery code',
};

/** How this person proves again who they are, at this address; the strongest first. */
export async function proofWays(): Promise<ProofWay[]> {
  const [ways, own] = await Promise.all([getWays(), getOwnLink()]);
  const { passkeys, authenticatorApp, recoveryCodes, passwordChangedAt } = ways;
  if (passkeys.length === 0 && authenticatorApp === null) {
    return [
      ...(passwordChangedAt === null && own.proves ? [] : (['password'] as const)),
      ...(own.proves ? (['provider'] as const) : []),
    ];
  }
  const here = passkeys.some((one) => one.relyingParty === location.hostname);
  return [
    ...(here && whyNoPasskeys() === undefined ? (['passkey'] as const) : []),
    ...(authenticatorApp === null ? [] : (['totp'] as const)),
    ...(recoveryCodes.left > 0 ? (['recovery-code'] as const) : []),
  ];
}

/** @param secret password or code; nothing for a passkey, which the browser asks. */
export async function proveAgain(way: Exclude<ProofWay, 'provider'>, secret: string): Promise<void> {
  const proof =
    way === 'password'
      ? { kind: way, password: secret }
      : way === 'passkey'
        ? { kind: way, response: await answerWithPasskey('/session/proof/passkey-options') }
        : { kind: way, code: secret };
  await request('/session/proof', { method: 'POST', body: proof });
}

export const changePassword = (body: PasswordChange): Promise<void> =>
  request('/me/password', { method: 'POST', body });

export const getWays = (signal?: AbortSignal): Promise<SignInWays> => request('/me/sign-in', { signal });

export async function addPasskey(name: string): Promise<FactorAdded> {
  const { options } = await request<{ options: Options<Library['startRegistration']> }>(
    '/me/passkeys/options',
    {
      method: 'POST',
    },
  );
  const { startRegistration } = await import('@simplewebauthn/browser');
  const response = await startRegistration({ optionsJSON: options }).catch(explain);
  return request('/me/passkeys', { method: 'POST', body: { name, response } });
}

export const renamePasskey = (id: string, name: string): Promise<void> =>
  request(`/me/passkeys/${id}`, { method: 'PATCH', body: { name } });
export const removePasskey = (id: string): Promise<void> =>
  request(`/me/passkeys/${id}`, { method: 'DELETE' });

export const beginAuthenticatorApp = (): Promise<NewAuthenticatorApp> =>
  request('/me/authenticator-app', { method: 'POST' });
export const confirmAuthenticatorApp = (code: string): Promise<FactorAdded> =>
  request('/me/authenticator-app/confirmation', { method: 'POST', body: { code } });
export const removeAuthenticatorApp = (): Promise<void> =>
  request('/me/authenticator-app', { method: 'DELETE' });

export const renewRecoveryCodes = async (): Promise<string[]> =>
  (await request<FactorAdded>('/me/recovery-codes', { method: 'POST' })).recoveryCodes ?? [];

/** Why no passkey can be used here at all; undefined: it can. */
export function whyNoPasskeys(): string | undefined {
  if (!('PublicKeyCredential' in window)) return 'This browser knows no passkeys.';
  const { hostname } = location;
  if (/^[\d.]+$|^\[/.test(hostname))
    return 'A passkey belongs to a host name, and this page was opened by an IP address. Open it by its name to use passkeys.';
  return undefined;
}

/** What the browser says to a passkey that did not come, in words that help. */
function explain(error: unknown): never {
  const name = error instanceof Error ? error.name : '';
  if (name === 'InvalidStateError')
    throw new ApiError(
      0,
      'browser',
      'This device holds a passkey for you already',
      'Use another device, or the one that is there.',
    );
  if (name === 'NotAllowedError' || name === 'AbortError')
    throw new ApiError(
      0,
      'browser',
      'No passkey was given',
      'The browser’s question was closed, or no passkey of yours is on this device.',
    );
  if (name === 'SecurityError')
    throw new ApiError(
      0,
      'browser',
      'The browser refuses passkeys at this address',
      'Open the appliance by its host name, with a certificate that the browser trusts.',
    );
  throw error;
}
