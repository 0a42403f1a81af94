/**
 * Signing in as whoever must have a second factor: the one way by which tests and tools do it. The first time a passkey is added, later
 * it is used; it comes from the e-mail address, so nothing has to be remembered.
 */
import { isIP } from 'node:net';
import { assertWith, attest, softwarePasskey, type SoftwarePasskey } from './software-passkey.ts';

interface Reply {
  status: number;
  body: unknown;
}

/** One request; the cookies of the answers are kept. */
export type Call = (method: 'GET' | 'POST', path: string, body?: object) => Promise<Reply>;

/** Where a passkey belongs to: an address of numbers is called by a name instead. */
export function originOf(url: string): string {
  const { hostname, host, port } = new URL(url);
  const named =
    isIP(hostname.replace(/^\[|\]$/g, '')) === 0 ? host : `localhost${port === '' ? '' : `:${port}`}`;
  return `https://${named}`;
}

/** Signs in to the end. @throws Error that names the status of what was refused. */
export async function signInAs(
  call: Call,
  origin: string,
  who: { email: string; password: string },
  passkey: SoftwarePasskey = softwarePasskey(who.email),
): Promise<void> {
  const { email, password } = who;
  const first = await call('POST', '/session', { email, password });
  if (first.status === 202) return passSecondStep(call, origin, passkey);
  expectReply(first, 201, 'sign-in');
  if ((first.body as { restricted: boolean }).restricted) await addTestPasskey(call, origin, passkey);
}

/** Adds a passkey to the account that is signed in. @returns the recovery codes, when it is the first factor. */
export async function addTestPasskey(
  call: Call,
  origin: string,
  passkey: SoftwarePasskey,
): Promise<string[] | undefined> {
  const asked = expectReply(await call('POST', '/me/passkeys/options'), 200, 'a passkey');
  const response = attest(passkey, (asked as { options: unknown }).options, origin);
  const added = await call('POST', '/me/passkeys', { name: 'Of a test', response });
  return (expectReply(added, 201, 'the passkey') as { recoveryCodes?: string[] }).recoveryCodes;
}

/** The password was right; the passkey comes next. */
async function passSecondStep(call: Call, origin: string, passkey: SoftwarePasskey): Promise<void> {
  const asked = await call('POST', '/session/passkey-options', { step: 'second' });
  const { options } = expectReply(asked, 200, 'the second step') as { options: unknown };
  const proof = { kind: 'passkey', response: assertWith(passkey, options, origin) };
  expectReply(await call('POST', '/session/second-factor', proof), 201, 'the second step');
}

/** Proves again who is signed in, by the passkey that comes from the e-mail address, or by the password where there is no passkey. */
export async function proveAgain(call: Call, origin: string, password: string): Promise<void> {
  const { user } = expectReply(await call('GET', '/session'), 200, 'the session') as {
    user: { email: string };
  };
  const asked = await call('POST', '/session/proof/passkey-options');
  const { options } = asked.body as { options?: unknown };
  const proof =
    asked.status === 200
      ? { kind: 'passkey', response: assertWith(softwarePasskey(user.email), options, origin) }
      : { kind: 'password', password };
  expectReply(await call('POST', '/session/proof', proof), 204, 'the proof');
}

function expectReply(reply: Reply, status: number, what: string): unknown {
  if (reply.status !== status)
    throw new Error(`${what} answered ${reply.status}: ${JSON.stringify(reply.body)}`);
  return reply.body;
}
