/** Single sign-on in a real browser, before a real provider. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startIdentityProvider, type IdentityProvider } from '../helpers/identity-provider.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { expectAccessible } from './accessible.ts';
import {
  keepingSight,
  openPage,
  startAppliance,
  startBrowser,
  type Appliance,
  type View,
} from './browser.ts';
import { claimWithKit, OWNER } from './first-run.ts';
import { bringPasskey } from './sign-in.ts';

const LIMIT_MS = 300_000;
const WIDE: View = { width: 1280, theme: 'light' };
const NARROW: View = { width: 375, theme: 'dark' };
const GRACE = { sub: 'grace', name: 'Grace Hopper', email: 'grace@example.org' };

let browser: Browser;
let appliance: Appliance;
let provider: IdentityProvider;
beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
  provider = await startIdentityProvider({
    redirectUris: [`${appliance.url}/sign-in/return`],
    logoutUri: `${appliance.url}/api/v1/single-sign-on/back-channel-logout`,
  });
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
  await provider.stop();
}, LIMIT_MS);

async function at(view: View, name: string, flow: (page: Page) => Promise<void>): Promise<void> {
  const { context, page, complaints } = await openPage(browser, appliance.url, view);
  await keepingSight(page, `single-sign-on-${name}`, () => flow(page));
  expect(complaints.filter((one) => !one.includes(provider.issuer))).toEqual([]);
  await context.close();
}

async function look(page: Page, name: string): Promise<void> {
  const before = page.viewportSize();
  for (const width of [1280, 375]) {
    await page.setViewportSize({ width, height: 900 });
    await expectAccessible(page, `${name}, ${width}`);
    await page.screenshot({ path: `.cache/web/single-sign-on-${name}-${width}.png`, fullPage: true });
  }
  if (before) await page.setViewportSize(before);
}

async function signInThere(page: Page, person: IdentityProvider['person']): Promise<void> {
  provider.person = person;
  await page.goto('/');
  await page.getByRole('button', { name: 'Sign in with Acme login' }).click();
}

const isMember = (page: Page) => page.getByRole('button', { name: /^You: Grace Hopper/ }).waitFor();

it(
  'an owner sets it up, people come in by it, prove themselves by it, and it becomes the only way in',
  async () => {
    await at(WIDE, 'owner', async (page) => {
      await claimWithKit(page, appliance, () => Promise.resolve());
      await page.goto('/settings/single-sign-on');
      await page.getByText(`${appliance.url}/sign-in/return`).waitFor();
      await look(page, 'empty');

      await page.getByLabel('Name on the button').fill('Acme login');
      await page.getByLabel('Issuer').fill(provider.issuer);
      await page.getByRole('button', { name: 'Test', exact: true }).click();
      await page.getByText('shows a certificate that is not trusted').waitFor();
      await page.getByText('Second factor, scopes, logout, private certificate authority').click();
      await page.getByLabel('Certificate authority', { exact: true }).fill(provider.root);
      await page.getByRole('button', { name: 'Test', exact: true }).click();
      await page.getByText('The provider answers as it should').waitFor();
      await page.getByLabel('Scopes').fill('openid email profile groups');
      await page.getByLabel('Client id').fill(provider.clientId);
      await page.getByLabel('Client secret').fill(provider.clientSecret);
      await page.getByLabel('Make an account for whoever signs in').check();
      await page.getByLabel('Claim that holds the groups').fill('groups');
      await page.getByRole('button', { name: 'Add a role' }).click();
      await page.getByLabel('Group of rule 1').fill('ops');
      await page.getByLabel('Role of rule 1').selectOption('admin');
      await page.getByRole('button', { name: 'Save' }).click();
      await page.getByText('Single sign-on saved').waitFor();
      await look(page, 'settings');

      await page.goto('/security');
      provider.person = { sub: 'ada', name: 'Ada', email: 'ada@provider.example' };
      await page.getByRole('button', { name: 'Link with Acme login' }).click();
      await page.getByText('Linked with ada@provider.example').waitFor();
      await look(page, 'security');
    });

    await at(NARROW, 'member', async (page) => {
      await page.goto('/files');
      await page.getByRole('button', { name: 'Sign in with Acme login' }).waitFor();
      await look(page, 'sign-in');
      await signInThere(page, { ...GRACE, email: OWNER.email });
      await page.getByText('Single sign-on did not let you in').waitFor();
      expect(new URL(page.url()).search).toBe('');
      await look(page, 'refused');

      await signInThere(page, GRACE);
      await isMember(page);
      expect(new URL(page.url()).search).toBe('');

      await page.evaluate(`(() => {
        const channel = new BroadcastChannel('holdfast.proof');
        channel.onmessage = ({ data }) => (document.title = data);
      })()`);
      const [proof] = await Promise.all([
        page.context().waitForEvent('page'),
        page.evaluate(`void window.open('/sign-in/again', '_blank', 'popup')`),
      ]);
      await keepingSight(proof, 'single-sign-on-proof', async () => {
        await waitFor('the page to hear of it', async () => (await page.title()) === 'proven');
      });
    });

    await at(WIDE, 'administrator', async (page) => {
      await signInThere(page, { sub: 'ops', name: 'Ops', email: 'ops@example.org', groups: ['ops'] });
      await page.getByLabel('Name of the passkey').waitFor();
    });

    await at(WIDE, 'only', async (page) => {
      await signInThere(page, { sub: 'ada' });
      await page.getByRole('heading', { name: 'Second step' }).waitFor();
      await look(page, 'second-step');
      await bringPasskey(page, OWNER.email);
      await page.getByRole('button', { name: 'Use a passkey' }).click();
      await page.getByRole('button', { name: /^You:/ }).waitFor();

      await page.goto('/settings/single-sign-on');
      await page.getByRole('button', { name: 'Make it the only way in' }).click();
      const dialog = page.getByRole('dialog');
      await look(page, 'only-dialog');
      await dialog.getByRole('textbox').fill('Acme login');
      await dialog.getByRole('button', { name: 'Make it the only way in' }).click();
      await page.getByText('Nobody but the owners has a password here').waitFor();
      await look(page, 'only');

      await page.getByRole('button', { name: /^You:/ }).click();
      await page.getByRole('menuitem', { name: 'Sign out' }).click();
      await page.getByRole('button', { name: 'Sign in with Acme login' }).waitFor();
      expect(await page.getByLabel('Password').count()).toBe(0);
      await look(page, 'only-sign-in');
      await page.getByRole('button', { name: 'Sign in as an owner, with a password' }).click();
      await page.getByLabel('Password').waitFor();
    });
  },
  LIMIT_MS,
);
