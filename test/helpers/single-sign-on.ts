/** Signing in at a provider, in tests that reach the appliance by `inject`. */
import { randomUUID } from 'node:crypto';
import {
  browserOf,
  expectStatus,
  ORIGIN,
  OWNER,
  type TestAppliance,
  type TestCaller,
  type TestReply,
} from './appliance.ts';
import { startIdentityProvider, type IdentityProvider, type ProviderPerson } from './identity-provider.ts';
import { proveAgain } from './sign-in.ts';

const LOGOUT_PATH = '/api/v1/single-sign-on/back-channel-logout';

export async function startProviderFor(appliance: TestAppliance): Promise<IdentityProvider> {
  const provider = await startIdentityProvider({
    redirectUris: [`${ORIGIN}/sign-in/return`],
    logoutUri: `${ORIGIN}${LOGOUT_PATH}`,
  });
  provider.deliver = (form) => sendLogout(appliance, form);
  return provider;
}

/** As the provider sends it: a form, without a header of ours. */
export async function sendLogout(
  appliance: Pick<TestAppliance, 'app'>,
  form: string,
): Promise<{ status: number; body: string; headers: Record<string, unknown> }> {
  const answer = await appliance.app.inject({
    method: 'POST',
    url: LOGOUT_PATH,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: form,
  });
  return { status: answer.statusCode, body: answer.body, headers: answer.headers };
}

export function settingsFor(provider: IdentityProvider, change: object = {}): object {
  return {
    ...{ enabled: true, name: 'Acme login', issuer: provider.issuer, clientId: provider.clientId },
    ...{ clientSecret: provider.clientSecret, caCertificates: provider.root },
    ...{
      scopes: ['openid', 'email', 'profile', 'groups'],
      groupsClaim: null,
      roleGroups: [],
      teamGroups: [],
    },
    ...{ otherRole: 'member', makesAccounts: true, strongAcr: [], strongAmr: [], logoutEndsKeys: false },
    ...change,
  };
}

export async function setProvider(
  owner: TestCaller,
  provider: IdentityProvider,
  change: object = {},
): Promise<void> {
  await expectStatus(owner.call('PUT', '/settings/single-sign-on', settingsFor(provider, change)), 200);
}

export interface SsoReply extends TestReply<{
  user: { id: string; role: string; name: string; email: string };
  restricted: boolean;
  ways: string[];
  error: { code: string; message: string; requestId: string };
}> {
  browser: ReturnType<typeof browserOf>;
}

/** Signs in in a browser of one's own. @param between changes what the provider gave before it is brought back. */
export async function signInThere(
  appliance: TestAppliance,
  provider: IdentityProvider,
  person: ProviderPerson,
  options: {
    begin?: object;
    between?: (given: Record<string, string>) => Record<string, string>;
    jar?: Map<string, string>;
  } = {},
): Promise<SsoReply> {
  const browser = browserOf(appliance.app);
  const { url } = await expectStatus(
    browser.call<{ url: string }>('POST', '/session/single-sign-on', options.begin ?? {}),
    201,
  );
  provider.person = person;
  const given = await provider.visit(url, options.jar);
  const back = options.between?.(given) ?? given;
  const reply = await browser.call<SsoReply['body']>('POST', '/session/single-sign-on/return', known(back));
  return { ...reply, browser };
}

/** What our page brings back of it. */
export function known({ code, state, iss, error }: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries({ code, state, iss, error }).filter(
      (pair): pair is [string, string] => pair[1] !== undefined,
    ),
  );
}

export const newSub = () => `sub-${randomUUID()}`;

/** Somebody whom the provider knows, and nobody else yet. */
export const someone = (sub = newSub()) => ({ sub, email: `${sub}@example.org`, name: 'Grace Hopper' });

/** Why people were not let in, as the audit log says, the newest first. */
export async function refusals(owner: TestCaller): Promise<string[]> {
  const { items } = await expectStatus(
    owner.call<{ items: { detail: { reason: string } }[] }>(
      'GET',
      '/audit?action=identity.single-sign-on.refused',
    ),
    200,
  );
  return items.map(({ detail }) => detail.reason);
}

/** Somebody who has just come in. */
export function callerIn(appliance: TestAppliance, reply: SsoReply): TestCaller {
  return appliance.withCookie(reply.browser.cookie());
}

/** Links the signed-in person with an account of the provider. */
export async function linkThere(
  appliance: TestAppliance,
  who: TestCaller,
  provider: IdentityProvider,
  person: ProviderPerson,
): Promise<TestReply<{ done?: string; error?: { code: string } }>> {
  await proveAgain((...asked) => who.call(...asked), ORIGIN, OWNER.password);
  const browser = browserOf(appliance.app, who.cookie);
  const { url } = await expectStatus(browser.call<{ url: string }>('POST', '/me/single-sign-on/link'), 201);
  provider.person = person;
  return browser.call('POST', '/me/single-sign-on/return', known(await provider.visit(url)));
}
