/** One's own account in a real browser, before a real mail server: password, reset, link to sign in, profile. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  MAIL_USER,
  makeAuthority,
  partOf,
  startMailServer,
  type MailServer,
} from '../helpers/mail-server.ts';
import { callerOf, expectStatus, takeOwnership, type ServedAppliance } from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { expectAccessible } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { OWNER } from './first-run.ts';

const LIMIT_MS = 240_000;
const GRACE = { name: 'Grace Hopper', email: 'grace@example.org', password: 'amber lantern walks 9' };
const SECOND = 'velvet anchor hums 4';
const THIRD = 'copper orchard sleeps 88';

let browser: Browser;
let appliance: Appliance;
let server: MailServer;
let owner: Pick<ServedAppliance, 'call' | 'url'>;

beforeAll(async () => {
  const authority = await makeAuthority();
  [browser, appliance, server] = await Promise.all([
    startBrowser(),
    startAppliance(),
    startMailServer(authority),
  ]);
  owner = callerOf(appliance.url);
  await takeOwnership({ ...owner, claimCode: appliance.claimCode }, OWNER);
  const settings = { name: 'Vault', stage: 'production', region: 'eu-north', allowedRegions: ['eu-north'] };
  await expectStatus(owner.call('PUT', '/settings/appliance', settings), 200);
  const userId = await addGrace();
  await expectStatus(
    owner.call('PUT', '/settings/mail', {
      ...{ host: 'localhost', port: server.port, security: 'implicit', leastTls: '1.3' },
      ...{ caCertificates: authority.certificate, ...MAIL_USER, messagesAMinute: 600, paused: false },
      ...{ senderName: 'Holdfast', senderAddress: 'holdfast@example.org' },
    }),
    200,
  );
  const workspace = { name: 'Ward 3', managerId: userId };
  await expectStatus(owner.call('POST', '/workspaces', workspace), 201);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
  await server.close();
}, LIMIT_MS);

async function addGrace(): Promise<string> {
  const invitation = { email: GRACE.email, role: 'member' };
  const sent = await expectStatus(owner.call<{ link: string }>('POST', '/invitations', invitation), 201);
  const token = sent.link.split('#')[1];
  const accepted = await expectStatus(
    callerOf(appliance.url).call<{ user: { id: string } }>('POST', '/invitations/accept', {
      ...{ token, name: GRACE.name, password: GRACE.password },
    }),
    201,
  );
  return accepted.user.id;
}

/** Wide and narrow, light and dark: nothing sticks out, and axe finds nothing. */
async function look(page: Page, name: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    for (const width of [375, 1280]) {
      await page.setViewportSize({ width, height: 900 });
      await expectAccessible(page, `${name}, ${colorScheme}, at ${width}`);
      await page.screenshot({
        path: `.cache/web/account-${name}-${colorScheme}-${width}.png`,
        fullPage: true,
      });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
}

async function withPage(name: string, flow: (page: Page) => Promise<void>): Promise<void> {
  const { context, page, complaints } = await openPage(browser, appliance.url, {
    width: 1280,
    theme: 'light',
  });
  await keepingSight(page, `account-${name}`, () => flow(page));
  expect(complaints).toEqual([]);
  await context.close();
}

async function signIn(page: Page, password: string, email = GRACE.email): Promise<void> {
  await page.goto('/');
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}

const inside = (page: Page) => page.getByRole('button', { name: /^You: / }).waitFor();

/** The link in the next mail to that address after so many. */
async function linkTo(email: string, after: number): Promise<string> {
  return waitFor('the mail with the link', () => {
    const mail = server.taken.slice(after).filter(({ to }) => to.includes(email));
    return mail.flatMap((one) => /https:\S+#[\w-]{43}/.exec(partOf(one, 'text/plain'))?.[0] ?? []).at(-1);
  });
}

it('a password is changed, with what it is worth said while it is typed', { timeout: LIMIT_MS }, async () => {
  await withPage('password', async (page) => {
    const other = await openPage(browser, appliance.url, { width: 1280, theme: 'light' });
    await signIn(other.page, GRACE.password);
    await inside(other.page);
    await signIn(page, GRACE.password);
    await inside(page);
    await page.goto('/security');
    await page.getByRole('heading', { name: 'Password', exact: true }).waitFor();
    await look(page, 'security');

    await page.getByRole('button', { name: 'Change', exact: true }).click();
    const field = page.getByLabel('New password', { exact: true });
    await field.fill('Password1!');
    await page.getByText('Easy to guess: it is not taken').waitFor();
    await look(page, 'weak');
    await field.fill('xbox360live');
    await page.getByText('Fair').or(page.getByText('Good')).first().waitFor();
    await page.getByLabel('New password again').fill('xbox360live');
    await page.getByLabel('Present password').fill(GRACE.password);
    await page.getByRole('button', { name: 'Change the password' }).click();
    await page.getByText('This password has leaked somewhere').waitFor();
    await field.fill(SECOND);
    await page.getByText('Strong', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Show what is typed' }).nth(1).click();
    expect(await field.getAttribute('type')).toBe('text');
    await page.getByLabel('New password again').fill(SECOND);
    await look(page, 'strong');
    await page.getByRole('button', { name: 'Change the password' }).click();
    await page.getByText('Password changed. Your other sessions have ended.').waitFor();

    await other.page.goto('/');
    await other.page.getByText('Your password was changed, which ends every session').waitFor();
    await other.context.close();
  });
});

it(
  'a forgotten password is reset by mail, and signing in comes after it',
  { timeout: LIMIT_MS },
  async () => {
    await withPage('reset', async (page) => {
      await page.goto('/');
      await page.getByRole('button', { name: 'Forgot your password?' }).waitFor();
      await look(page, 'sign-in');
      await page.getByRole('button', { name: 'Forgot your password?' }).click();
      const mails = server.taken.length;
      await page.getByLabel('E-mail').fill(GRACE.email);
      await look(page, 'ask-reset');
      await page.getByRole('button', { name: 'Send the link' }).click();
      await page.getByText('a link is on its way').waitFor();
      await look(page, 'asked-reset');
      const link = await linkTo(GRACE.email, mails);

      await page.goto('/reset-password#tooshort');
      await page.getByText('This link is not whole').waitFor();
      await page.goto(link);
      await page.getByText(GRACE.email).waitFor();
      expect(page.url()).not.toContain('#');
      await page.getByLabel('New password', { exact: true }).fill(THIRD);
      await page.getByLabel('New password again').fill(THIRD);
      await look(page, 'reset');
      await page.getByRole('button', { name: 'Set the password' }).click();
      await page.getByText('The password is set').waitFor();
      await look(page, 'reset-done');
      await page.getByRole('link', { name: 'Go to sign-in' }).click();
      await page.getByRole('heading', { name: 'Sign in' }).waitFor();
      await page.goto(link);
      await page.getByText('This link cannot be used any more').waitFor();
      await look(page, 'reset-over');
      await signIn(page, THIRD);
      await inside(page);
    });
  },
);

it('a link signs in where it was asked for, and nowhere else', { timeout: LIMIT_MS }, async () => {
  await withPage('link', async (page) => {
    const { items } = await expectStatus(
      owner.call<{ items: { id: string; name: string }[] }>('GET', '/workspaces/all'),
      200,
    );
    const ward = items.find(({ name }) => name === 'Ward 3')?.id ?? '';
    await expectStatus(owner.call('PUT', `/workspaces/${ward}/magic-links`, { allowed: true }), 200);
    await page.goto('/');
    await page.getByRole('button', { name: 'Send me a link to sign in' }).click();
    const mails = server.taken.length;
    await page.getByLabel('E-mail').fill(GRACE.email);
    await page.getByRole('button', { name: 'Send the link' }).click();
    await page.getByText('one is on its way').waitFor();
    await look(page, 'asked-link');
    const link = await linkTo(GRACE.email, mails);

    const other = await openPage(browser, appliance.url, { width: 1280, theme: 'light' });
    await other.page.goto(link);
    await other.page.getByRole('button', { name: 'Sign in' }).click();
    await other.page.getByText('This link cannot be used any more').waitFor();
    await look(other.page, 'link-refused');
    await other.context.close();
    // What looks through mail opens it too: that uses nothing up.
    expect((await page.context().request.get(link)).status()).toBe(200);

    await page.goto(link);
    await page.getByText('The link works in the browser in which you asked for it').waitFor();
    await look(page, 'link');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await inside(page);
  });
});

it(
  'name and address are changed in the profile; the new address counts when it is confirmed',
  { timeout: LIMIT_MS },
  async () => {
    await withPage('profile', async (page) => {
      await signIn(page, THIRD);
      await inside(page);
      await page.getByRole('button', { name: /^You: / }).click();
      await page.getByRole('menuitem', { name: 'Your profile' }).click();
      await page.getByRole('heading', { name: 'Your profile' }).waitFor();
      await page.getByRole('button', { name: 'Change' }).first().click();
      await page.getByRole('textbox', { name: 'Name' }).fill('Grace B. Hopper');
      await page.getByRole('button', { name: 'Save' }).click();
      await page.getByRole('button', { name: 'You: Grace B. Hopper' }).waitFor();

      const mails = server.taken.length;
      await page.getByRole('button', { name: 'Change' }).nth(1).click();
      await page.getByLabel('New e-mail address').fill('grace.hopper@example.org');
      await look(page, 'profile-dialog');
      await page.getByRole('button', { name: 'Send the link' }).click();
      await page.getByText('waits to be confirmed').waitFor();
      await look(page, 'profile');
      const link = await linkTo('grace.hopper@example.org', mails);

      const other = await openPage(browser, appliance.url, { width: 1280, theme: 'light' });
      await other.page.goto(link);
      await other.page.getByRole('button', { name: 'Use this address' }).waitFor();
      await look(other.page, 'confirm');
      await other.page.getByRole('button', { name: 'Use this address' }).click();
      await other.page.getByText('Your address is now').waitFor();
      await signIn(other.page, THIRD, 'grace.hopper@example.org');
      await inside(other.page);
      await other.context.close();
      await page.goto('/security/sessions');
      await page.getByRole('heading', { name: 'Your sessions' }).waitFor();
      await look(page, 'sessions');
    });
  },
);

it(
  'an owner sends a link to somebody, and lets members of a workspace sign in by links',
  { timeout: LIMIT_MS },
  async () => {
    const { bringPasskey, signIn: enterWithFactor } = await import('./sign-in.ts');
    await withPage('owner', async (page) => {
      await page.goto('/people');
      await bringPasskey(page, OWNER.email);
      await enterWithFactor(page, OWNER);
      await inside(page);
      await page.getByRole('link', { name: /^Grace/ }).click();
      await page.getByRole('button', { name: 'Reset password' }).click();
      await look(page, 'offer');
      await page.getByRole('button', { name: 'Make the link' }).click();
      await page.getByText('A mail goes out to').waitFor();
      await page.getByRole('button', { name: 'Done' }).click();
      await page.goto('/people/workspaces');
      await page.getByRole('link', { name: 'Ward 3' }).click();
      const box = page.getByRole('checkbox', { name: /Members may sign in by a link/ });
      expect(await box.isChecked()).toBe(true);
      await look(page, 'workspace');
      await box.uncheck();
      await waitFor('the switch to be off', async () => {
        const { body } = await owner.call<{ magicLink: boolean }>('GET', '/sign-in/ways');
        return !body.magicLink;
      });
    });
  },
);
