/** The registers in a real browser: entered, found, brought in from a file, seen by the person. */
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { expectAccessible } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { OWNER } from './first-run.ts';
import { addSecondFactor } from './sign-in.ts';

const LIMIT_MS = 240_000;

let browser: Browser;
let appliance: Appliance;
let owner: { context: BrowserContext; page: Page; complaints: string[] };

beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
  owner = await openPage(browser, appliance.url, { width: 1280, theme: 'light' });
  const reply = await owner.context.request.post(`${appliance.url}/api/v1/setup/claim`, {
    data: { code: appliance.claimCode, owner: OWNER },
    headers: { 'x-holdfast': '1' },
  });
  expect(reply.status()).toBe(201);
  await owner.page.goto('/people');
  await addSecondFactor(owner.page, OWNER.email);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
}, LIMIT_MS);

/** Wide and narrow: nothing sticks out, and axe finds nothing. */
async function look(page: Page, where: string): Promise<void> {
  for (const width of [375, 1280]) {
    await page.setViewportSize({ width, height: 900 });
    await expectAccessible(page, `${where} at ${width}`);
  }
}

it(
  'something is entered, found when it is overdue, brought in from a file, and seen by the person',
  { timeout: LIMIT_MS },
  async () => {
    const { page } = owner;
    await keepingSight(page, 'registers', async () => {
      await page.goto('/people');
      await page.getByRole('link', { name: 'Registers' }).click();
      await page.getByText('Nothing is entered yet').waitFor();
      await look(page, 'no entries');
      await page.getByRole('button', { name: 'Enter the first' }).click();
      await page.getByRole('radio', { name: new RegExp(OWNER.name) }).check();
      await page.getByLabel('What', { exact: true }).fill('Fire safety');
      await page.getByLabel('Done on').fill('2024-03-01');
      await page.getByLabel('Due, or valid until').fill('2025-03-01');
      await look(page, 'entering');
      await page.getByRole('dialog').getByRole('button', { name: 'Enter', exact: true }).click();
      await page.getByText('1 entry is overdue').waitFor();
      await look(page, 'entries');
      await page.getByRole('button', { name: 'Due soon' }).click();
      await page.getByText('Nothing fits').waitFor();
      await page.getByRole('link', { name: 'Show them' }).click();
      await page.getByRole('cell', { name: 'Fire safety', exact: true }).waitFor();

      await page.getByRole('button', { name: 'Import' }).click();
      const file = (text: string) => ({ name: 'staff.csv', mimeType: 'text/csv', buffer: Buffer.from(text) });
      const head = 'email,kind,what,done on,due on';
      await page
        .locator('input[type=file]')
        .setInputFiles(file(`${head}\n${OWNER.email},training,First aid,soon,\n`));
      await page.getByText('Line 2: "soon" is no day').waitFor();
      await look(page, 'a file with a problem');
      await page
        .locator('input[type=file]')
        .setInputFiles(file(`${head}\n${OWNER.email},training,First aid,2026-01-10,2099-01-10\n`));
      await page.getByText('1 row can come in').waitFor();
      await page.getByRole('dialog').getByRole('button', { name: 'Import', exact: true }).click();
      await page.goto('/people/registers?search=first');
      await page.getByRole('cell', { name: 'First aid', exact: true }).waitFor();

      await page.getByRole('button', { name: 'Reminders, and what is due' }).click();
      await page.getByRole('button', { name: 'Add one' }).click();
      await page.getByLabel('What', { exact: true }).fill('Undertaking of confidentiality');
      await look(page, 'newcomers');
      await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
      await page.getByText('Saved').waitFor();

      await page.goto('/security');
      await page.getByText('First aid').waitFor();
      await page.getByText('Overdue').waitFor();
      await look(page, 'own entries');
    });
    expect(owner.complaints).toEqual([]);
  },
);
