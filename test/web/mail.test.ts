/** Setting up mail in a real browser, before a real mail server. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runHoldfast } from '../helpers/served-appliance.ts';
import { MAIL_USER, makeAuthority, startMailServer, type MailServer } from '../helpers/mail-server.ts';
import { expectAccessible } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { claimWithKit, OWNER } from './first-run.ts';

const LIMIT_MS = 240_000;

let browser: Browser;
let appliance: Appliance;
let server: MailServer;
let certificate: string;
beforeAll(async () => {
  const authority = await makeAuthority();
  certificate = authority.certificate;
  [browser, appliance, server] = await Promise.all([
    startBrowser(),
    startAppliance(),
    startMailServer(authority, {
      refuse: (to) => (to.startsWith('gone') ? { code: 550, message: 'No such mailbox' } : undefined),
    }),
  ]);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
  await server.close();
}, LIMIT_MS);

async function look(page: Page, name: string): Promise<void> {
  await expectAccessible(page, name);
  await page.screenshot({ path: `.cache/web/mail-${name}.png`, fullPage: true });
  await page.setViewportSize({ width: 375, height: 800 });
  await expectAccessible(page, `${name}, small`);
  await page.screenshot({ path: `.cache/web/mail-${name}-375.png`, fullPage: true });
  await page.setViewportSize({ width: 1280, height: 900 });
}

async function sendTest(page: Page, to: string): Promise<void> {
  await page.getByLabel('Send to').fill(to);
  await page.getByRole('button', { name: 'Send a test message' }).click();
}

it(
  'an owner sets up the mail server, sees in plain words what is wrong, and sends a test message',
  async () => {
    const { context, page, complaints } = await openPage(browser, appliance.url, {
      width: 1280,
      theme: 'light',
    });
    await keepingSight(page, 'mail', async () => {
      await claimWithKit(page, appliance, () => Promise.resolve());
      await page.goto('/settings/mail');
      await page.getByText('Without a mail server nothing is sent').waitFor();
      await look(page, 'off');

      await page.getByLabel('Server', { exact: true }).fill('localhost');
      await page.getByLabel('Port', { exact: true }).fill(String(server.port));
      await page.getByLabel('User', { exact: true }).fill(MAIL_USER.username);
      await page.getByLabel('Password').fill(MAIL_USER.password);
      await page.getByLabel('Sender’s address').fill('holdfast@example.org');
      await page.getByRole('button', { name: 'Save' }).click();
      await page.getByText('Mail settings saved').waitFor();
      await sendTest(page, '');
      await page.getByText('its certificate comes from nobody who is trusted here').waitFor();

      await page.getByText('Private certificate authority, rate, pause').click();
      await page.getByLabel('Certificate authority', { exact: true }).fill(certificate);
      await page.getByText('Type the password again: mail would go another way').waitFor();
      await page.getByLabel('Password').fill(MAIL_USER.password);
      await page.getByRole('button', { name: 'Save' }).click();
      await page.getByRole('button', { name: 'Save' }).and(page.locator('[aria-disabled=true]')).waitFor();
      await sendTest(page, '');
      await page.getByText(`localhost took the message for ${OWNER.email}`).waitFor();
      expect(server.taken).toMatchObject([{ to: [OWNER.email] }]);
      await sendTest(page, 'gone@example.org');
      await page.getByText('No such mailbox').waitFor();
      await look(page, 'ready');

      const told = await runHoldfast(['mail', 'test', 'bob@example.org'], { dataDir: appliance.dataDir });
      expect([told.exitCode, told.stdout]).toEqual([0, expect.stringContaining('took the message')]);

      await page.getByRole('link', { name: 'Log of mail' }).click();
      await page.getByRole('heading', { name: 'Log of mail' }).waitFor();
      // Of the second factor that was added before there was a server.
      await page.getByRole('row', { name: /Security notice.*No mail server/ }).waitFor();
      await look(page, 'log');
      await page.getByRole('button', { name: 'Failed', exact: true }).click();
      await page.getByText('No message fits').waitFor();
    });
    expect(complaints).toEqual([]);
    await context.close();
  },
  LIMIT_MS,
);
