/** Signing in as a person does it, second step included: the passkeys are those of Chromium's virtual authenticator. */
import { createPrivateKey } from 'node:crypto';
import type { CDPSession, Page } from 'playwright-core';
import { nextCount, softwarePasskey, type SoftwarePasskey } from '../helpers/software-passkey.ts';

export interface Authenticator {
  cdp: CDPSession;
  authenticatorId: string;
}

/** What was made in a browser of this run, by e-mail address; others have the one that comes from the address. */
const made = new Map<string, SoftwarePasskey>();
const authenticators = new WeakMap<Page, Promise<Authenticator>>();

/** The page's authenticator, which says yes by itself. */
export function authenticatorOf(page: Page): Promise<Authenticator> {
  const present = authenticators.get(page) ?? plugIn(page);
  authenticators.set(page, present);
  return present;
}

async function plugIn(page: Page): Promise<Authenticator> {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('WebAuthn.enable', { enableUI: false });
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  return { cdp, authenticatorId };
}

/** Where a factor is asked for the first time: adds a passkey and keeps the recovery codes. @returns these. */
export async function addSecondFactor(
  page: Page,
  email: string,
  look: (page: Page, where: string) => Promise<void> = () => Promise.resolve(),
): Promise<string[]> {
  const { cdp, authenticatorId } = await authenticatorOf(page);
  await page.getByLabel('Name of the passkey').waitFor();
  await look(page, 'second factor');
  await page.getByRole('button', { name: 'Add a passkey' }).click();
  await page.getByRole('heading', { name: 'Recovery codes' }).waitFor();
  await look(page, 'recovery codes');
  const { credentials } = await cdp.send('WebAuthn.getCredentials', { authenticatorId });
  const [credential] = credentials;
  if (credential === undefined) throw new Error('The authenticator made no passkey');
  made.set(email, {
    credentialId: Buffer.from(credential.credentialId, 'base64'),
    privateKey: createPrivateKey({
      key: Buffer.from(credential.privateKey, 'base64'),
      format: 'der',
      type: 'pkcs8',
    }),
    counter: nextCount,
  });
  const codes = await page.locator('ol.mono li').allInnerTexts();
  await page.getByLabel('I have kept the codes').check();
  await page.getByRole('button', { name: 'Continue' }).click();
  return codes;
}

/** The passkey of a person: for signing in outside a browser too. */
export function passkeyOf(email: string): SoftwarePasskey {
  return made.get(email) ?? softwarePasskey(email);
}

/** Puts a person's passkey into the page's authenticator. */
export async function bringPasskey(page: Page, email: string): Promise<void> {
  const { cdp, authenticatorId } = await authenticatorOf(page);
  const { credentialId, privateKey, counter } = passkeyOf(email);
  await cdp.send('WebAuthn.clearCredentials', { authenticatorId });
  await cdp.send('WebAuthn.addCredential', {
    authenticatorId,
    credential: {
      credentialId: credentialId.toString('base64'),
      isResidentCredential: false,
      rpId: 'localhost',
      privateKey: privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64'),
      signCount: counter(),
    },
  });
}

/** From the sign-in page to the end; a first sign-in adds the second factor. */
export async function signIn(page: Page, who: { email: string; password: string }): Promise<void> {
  await page.getByLabel('E-mail').fill(who.email);
  await page.getByLabel('Password').fill(who.password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  const second = page.getByRole('heading', { name: 'Second step' });
  const enrolment = page.getByRole('heading', { name: 'Add a second factor' });
  const inside = page.locator('#main, nav[aria-label="Steps of the first run"]');
  await second.or(enrolment).or(inside).first().waitFor();
  if (await second.isVisible()) {
    await bringPasskey(page, who.email);
    await page.getByRole('button', { name: 'Use a passkey' }).click();
    await second.waitFor({ state: 'detached' });
  } else if (await enrolment.isVisible()) {
    await addSecondFactor(page, who.email);
    await enrolment.waitFor({ state: 'detached' });
  }
}
