/** Keys for programs in a real browser: made, shown once, used, seen in their log, revoked. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { expectAccessible } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { claimWithKit } from './first-run.ts';

const LIMIT_MS = 180_000;

let browser: Browser;
let appliance: Appliance;
beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
}, LIMIT_MS);

async function look(page: Page, name: string): Promise<void> {
  for (const width of [375, 1280]) {
    await page.setViewportSize({ width, height: 900 });
    await expectAccessible(page, `${name}, ${width}`);
    await page.screenshot({ path: `.cache/web/api-keys-${name}-${width}.png`, fullPage: true });
  }
}

/** As a program does: the page's own fetch would send the cookie. */
async function ask(token: string): Promise<number> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  try {
    const reply = await context.request.get(`${appliance.url}/api/v1/workspaces`, {
      headers: { authorization: `Bearer ${token}` },
    });
    return reply.status();
  } finally {
    await context.close();
  }
}

it(
  'a key is made, shown once, works, is in its log, and is refused as soon as it is revoked',
  async () => {
    const { context, page, complaints } = await openPage(browser, appliance.url, {
      width: 1280,
      theme: 'light',
    });
    await keepingSight(page, 'api-keys', async () => {
      await claimWithKit(page, appliance, () => Promise.resolve());
      await page.goto('/api-keys');
      await page.getByText('No key', { exact: true }).waitFor();
      await look(page, 'none');

      await page.getByRole('button', { name: 'Make a key' }).first().click();
      const making = page.getByRole('dialog', { name: 'Make an API key' });
      await making.getByLabel('Name').fill('nightly-import');
      await making.getByLabel('For').selectOption({ label: 'Workspace Main' });
      await making.getByRole('checkbox', { name: /files\.read/ }).check();
      await look(page, 'making');
      await making.getByRole('button', { name: 'Make it' }).click();

      const shown = page.getByRole('dialog', { name: 'The secret of nightly-import' });
      await shown.waitFor();
      await look(page, 'shown');
      const token = await shown.getByRole('button', { name: /Copy key/ }).innerText();
      await shown.getByRole('button', { name: 'I have kept it' }).click();
      expect(await ask(token.trim())).toBe(200);
      expect(await page.getByText(token.trim()).count()).toBe(0);

      await page.reload();
      await page.getByRole('row', { name: /nightly-import/ }).waitFor();
      await look(page, 'list');
      const menu = page.getByRole('button', { name: 'What to do with nightly-import' });
      await menu.click();
      await page.getByRole('menuitem', { name: 'Log of requests' }).click();
      await page.getByRole('row', { name: /\/workspaces/ }).waitFor();
      await look(page, 'log');

      await page.goto('/api-keys');
      await page
        .getByRole('row', { name: /nightly-import/ })
        .getByRole('button')
        .last()
        .click();
      await page.getByRole('menuitem', { name: 'Revoke' }).click();
      const revoking = page.getByRole('dialog', { name: 'Revoke nightly-import' });
      await revoking.getByRole('textbox').fill('nightly-import');
      await revoking.getByRole('button', { name: 'Revoke' }).click();
      await revoking.waitFor({ state: 'detached' });
      expect(await ask(token.trim())).toBe(401);
    });
    expect(complaints).toEqual([]);
    await context.close();
  },
  LIMIT_MS,
);
