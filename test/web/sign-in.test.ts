/** Every way of signing in, in a real browser with Chromium's virtual authenticator. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { totpCode, totpStep } from '../../server/identity/factors/totp.ts';
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
import { authenticatorOf, signIn } from './sign-in.ts';

const LIMIT_MS = 240_000;
const WIDE: View = { width: 1280, theme: 'light' };
const NARROW: View = { width: 375, theme: 'dark' };

let browser: Browser;
let appliance: Appliance;
let codes: string[] = [];
beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
}, LIMIT_MS);

async function at(view: View, name: string, flow: (page: Page) => Promise<void>): Promise<void> {
  const { context, page, complaints } = await openPage(browser, appliance.url, view);
  await keepingSight(page, `sign-in-${name}`, () => flow(page));
  expect(complaints).toEqual([]);
  await context.close();
}

async function givePassword(page: Page): Promise<void> {
  await page.getByLabel('E-mail').fill(OWNER.email);
  await page.getByLabel('Password').fill(OWNER.password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByRole('heading', { name: 'Second step' }).waitFor();
}

async function signOut(page: Page): Promise<void> {
  await page.getByRole('button', { name: /^You:/ }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
}

const inside = (page: Page) => page.getByRole('heading', { name: 'Your security' }).waitFor();

describe('in the browser', () => {
  it(
    'the first run asks for a second factor; with its passkey the owner signs in first and second',
    { timeout: LIMIT_MS },
    () =>
      at(WIDE, 'passkey', async (page) => {
        await claimWithKit(page, appliance, expectAccessible);
        await page.goto('/security');
        await inside(page);
        await expectAccessible(page, 'my security');

        await signOut(page);
        await expectAccessible(page, 'sign-in');
        await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
        await inside(page);

        await signOut(page);
        await givePassword(page);
        await expectAccessible(page, 'second step');
        await page.getByRole('button', { name: 'Use a passkey' }).click();
        await inside(page);
      }),
  );

  it(
    'a passkey that is refused by its holder leads nowhere, and the page says what to do',
    { timeout: LIMIT_MS },
    () =>
      at(NARROW, 'refused', async (page) => {
        const { cdp, authenticatorId } = await authenticatorOf(page);
        await cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false });
        await page.goto('/security');
        await page.getByRole('button', { name: 'Sign in with a passkey' }).click();
        await page.getByRole('alert').waitFor();
        await expectAccessible(page, 'refused passkey');
        expect(await page.getByRole('heading', { name: 'Sign in' }).isVisible()).toBe(true);
      }),
  );

  it(
    'an authenticator app is added, its code signs in, and new recovery codes each once',
    { timeout: LIMIT_MS },
    () =>
      at(NARROW, 'totp', async (page) => {
        await page.goto('/security');
        await signIn(page, OWNER);
        await page.getByRole('button', { name: 'Make new codes' }).click();
        const dialog = page.getByRole('dialog');
        await dialog.getByText('I have kept the codes').waitFor();
        await expectAccessible(page, 'new recovery codes');
        codes = await dialog.locator('ol.mono li').allInnerTexts();
        expect(codes).toHaveLength(10);
        await dialog.getByLabel('I have kept the codes').check();
        await dialog.getByRole('button', { name: 'Done' }).click();

        await page.getByRole('button', { name: 'Add an app' }).click();
        const secret = await dialog
          .getByRole('button', { name: /secret/i })
          .first()
          .textContent();
        await expectAccessible(page, 'authenticator app');
        const key = fromBase32((secret ?? '').replaceAll(/\s/g, ''));
        await dialog.getByLabel('Code that the app shows').fill('000 000');
        await dialog.getByRole('button', { name: 'Add the app' }).click();
        await dialog.getByRole('alert').getByText('The code is not right').waitFor();
        // The step before the present one: that of now stays for the sign-in.
        await dialog.getByLabel('Code that the app shows').fill(totpCode(key, totpStep(new Date()) - 1));
        await dialog.getByRole('button', { name: 'Add the app' }).click();
        await page.getByText('In use since').waitFor();

        await signOut(page);
        await givePassword(page);
        await page.getByRole('button', { name: 'Use the authenticator app' }).click();
        await expectAccessible(page, 'second step with an app');
        await page.getByLabel('Code of the authenticator app').fill('000000');
        await page.getByRole('button', { name: 'Sign in', exact: true }).click();
        await page.getByRole('alert').getByText('The code is wrong, or was used before').waitFor();
        await page.getByLabel('Code of the authenticator app').fill(totpCode(key, totpStep(new Date())));
        await page.keyboard.press('Enter');
        await inside(page);
      }),
  );

  it('a recovery code signs in once, and the page counts those that are left', { timeout: LIMIT_MS }, () =>
    at(WIDE, 'recovery', async (page) => {
      await page.goto('/security');
      await givePassword(page);
      await page.getByRole('button', { name: 'Use a recovery code' }).click();
      await page.getByLabel('Recovery code').fill(codes[0] ?? '');
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await inside(page);
      await page.getByText('9 left').waitFor();
    }),
  );

  it('passkeys are added, renamed and removed; the list follows', { timeout: LIMIT_MS }, () =>
    at(WIDE, 'manage', async (page) => {
      await page.goto('/security');
      await givePassword(page);
      await page.getByRole('button', { name: 'Use a recovery code' }).click();
      await page.getByLabel('Recovery code').fill(codes[1] ?? '');
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await inside(page);
      await authenticatorOf(page);
      await page.getByRole('button', { name: 'Add a passkey' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByLabel('Name of the passkey').fill('Second key');
      await expectAccessible(page, 'new passkey');
      await dialog.getByRole('button', { name: 'Add a passkey' }).click();
      await page.getByRole('button', { name: 'Rename Second key' }).click();
      await dialog.getByLabel('Name').fill('Key on my ring');
      await dialog.getByRole('button', { name: 'Rename' }).click();
      await page.getByRole('button', { name: 'Remove Key on my ring' }).click();
      await expectAccessible(page, 'remove a passkey');
      await dialog.getByRole('button', { name: 'Remove the passkey' }).click();
      await page.getByRole('button', { name: 'Rename Key on my ring' }).waitFor({ state: 'detached' });
    }),
  );
});

function fromBase32(text: string): Buffer {
  const bits = Array.from(text, (letter) =>
    'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0'),
  ).join('');
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
}
