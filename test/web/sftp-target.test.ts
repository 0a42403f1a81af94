/** An SFTP target in a real browser, on a real OpenSSH server: added in the first run, then its host key changes. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startSftpServer, type SftpServer } from '../helpers/sftp-server.ts';
import { expectAccessible } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { claimWithKit } from './first-run.ts';

const LIMIT_MS = 240_000;
/** The server of these tests is on this machine, which is otherwise refused. */
const ON_ONE_MACHINE = { HOLDFAST_OWN_MACHINE: 'allow' };

let browser: Browser;
let appliance: Appliance;
let server: SftpServer;
let folder: string;
beforeAll(async () => {
  [browser, appliance, server] = await Promise.all([
    startBrowser(),
    startAppliance(ON_ONE_MACHINE),
    startSftpServer(),
  ]);
  folder = await server.makeFolder('repository');
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
  await server.stop();
}, LIMIT_MS);

async function look(page: Page, name: string): Promise<void> {
  await expectAccessible(page, name);
  await page.screenshot({ path: `.cache/web/sftp-${name}.png`, fullPage: true });
  await page.setViewportSize({ width: 375, height: 800 });
  await expectAccessible(page, `${name}, small`);
  await page.screenshot({ path: `.cache/web/sftp-${name}-375.png`, fullPage: true });
  await page.setViewportSize({ width: 1280, height: 900 });
}

const tryIt = (page: Page) => page.getByRole('button', { name: 'Try it: write, read, list' });

it(
  'an owner adds an SFTP server after comparing its host key, and later accepts another one',
  async () => {
    const { context, page, complaints } = await openPage(browser, appliance.url, {
      width: 1280,
      theme: 'light',
    });
    await keepingSight(page, 'sftp', async () => {
      await claimWithKit(page, appliance, () => Promise.resolve());
      await page.getByRole('heading', { name: 'Where do the backups go?' }).waitFor();
      await page.getByLabel('Name').fill('vault-eu');
      // By the keyboard alone: from one kind to the other.
      await page.getByRole('radio', { name: 'Mounted directory' }).focus();
      await page.keyboard.press('ArrowDown');
      await page.getByLabel('Server', { exact: true }).fill('127.0.0.1');
      await page.getByLabel('Port').fill('1');
      await page.getByLabel('Directory on the server').fill(`${folder}-missing`);
      await page.getByLabel('User', { exact: true }).fill(server.username);
      await page.getByText('The key is not made yet').first().waitFor();
      await page.getByRole('button', { name: 'Make the key' }).click();
      const line = await page.getByText('restrict,command="internal-sftp" ssh-ed25519').innerText();
      await look(page, 'form');

      await tryIt(page).click();
      await page.locator('p.error', { hasText: 'Nothing answers at 127.0.0.1, port 1' }).waitFor();
      await page.getByLabel('Port').fill(String(server.port));
      await tryIt(page).click();
      await page.getByText(server.hostKey.fingerprint, { exact: true }).waitFor();
      await look(page, 'compare');
      expect(server.log()).not.toContain('Accepted');
      await page.getByLabel('I compared it, and it is the same').check();
      await page.getByRole('button', { name: 'Trust this key and go on' }).click();
      await page.getByText('does not accept the user with this password or key').first().waitFor();
      await look(page, 'refused');

      await server.authorize(line);
      await tryIt(page).click();
      await page.locator('p.error', { hasText: 'is not there' }).waitFor();
      await page.getByLabel('Directory on the server').fill(folder);
      await tryIt(page).click();
      const add = page.getByRole('button', { name: 'Add the target' });
      await add.and(page.locator('[aria-disabled=false]')).waitFor();
      await look(page, 'tried');
      await add.click();
      await page.getByRole('heading', { name: 'How often?' }).waitFor();

      await page.goto('/targets');
      await page.getByRole('link', { name: 'vault-eu' }).click();
      await page.getByText(server.hostKey.fingerprint).first().waitFor();
      await look(page, 'target');
      const before = server.hostKey.fingerprint;
      await server.restart({ newHostKey: true });
      await page.getByRole('button', { name: 'Try it now' }).click();
      await page.getByText('another host key than the one that was compared').waitFor();
      await look(page, 'changed');
      await page.getByRole('button', { name: 'Compare and accept' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByText(before).waitFor();
      await dialog.getByText(server.hostKey.fingerprint).waitFor();
      await look(page, 'accept');
      await dialog.getByRole('textbox').fill('vault-eu');
      await dialog.getByRole('button', { name: 'Accept this key' }).click();
      await dialog.waitFor({ state: 'hidden' });
      await page.getByText('It is the one that was compared.').waitFor();

      await page.getByRole('button', { name: 'Retire' }).click();
      await dialog.getByText('How the appliance signs in there is forgotten at once.').waitFor();
      await page.emulateMedia({ colorScheme: 'dark' });
      await look(page, 'retire');
      await dialog.getByRole('textbox').fill('vault-eu');
      await dialog.getByRole('button', { name: 'Retire' }).click();
      await dialog.waitFor({ state: 'hidden' });
      await page.getByText('Not known').waitFor();
      const again = page.getByRole('button', { name: 'Try it now' });
      expect(await again.getAttribute('aria-disabled')).toBe('true');
      await look(page, 'retired');
    });
    expect(complaints).toEqual([]);
    await context.close();
  },
  LIMIT_MS,
);
