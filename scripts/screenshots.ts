/** Makes the pictures of the README: a fresh appliance, taken through its first run in a browser. Into web/screenshots/. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { openPage, startAppliance, startBrowser, type Appliance, type View } from '../test/web/browser.ts';
import { addFirstTarget, claimWithKit, OWNER, proveFirstSnapshot } from '../test/web/first-run.ts';

const OUT = join(import.meta.dirname, '..', 'web', 'screenshots');
const LONG_MS = 120_000;
const LIGHT: View = { width: 1280, theme: 'light' };

async function shoot(page: Page, name: string): Promise<void> {
  await page.waitForTimeout(400);
  await page.screenshot({ path: join(OUT, `${name}.png`) });
}

async function firstRun(browser: Browser, appliance: Appliance): Promise<void> {
  const { context, page } = await openPage(browser, appliance.url, LIGHT);
  const pictured: Record<string, string> = {
    kit: 'recovery-kit',
    'first restore test': 'first-restore-test',
  };
  const look = async (at: Page, where: string): Promise<void> => {
    const name = pictured[where];
    if (name !== undefined) await shoot(at, name);
  };
  const kit = await claimWithKit(page, appliance, look);
  await addFirstTarget(page, appliance, look);
  await proveFirstSnapshot(page, kit, look);
  await upload(page);
  await proveAgain(page);
  await context.close();
}

/** What was uploaded, in a second snapshot, and that one proven. */
async function proveAgain(page: Page): Promise<void> {
  await page.goto('/snapshots');
  await page.getByRole('button', { name: 'Take a snapshot' }).click();
  await page.getByRole('status').getByText('Done').waitFor({ timeout: LONG_MS });
  await page.goto('/restore-tests/new?step=ready&mode=full');
  await page
    .getByRole('button', { name: 'Start the test' })
    .and(page.locator('[aria-disabled=false]'))
    .click();
  await page.getByText('DATA PROVEN').waitFor({ timeout: LONG_MS });
}

async function upload(page: Page): Promise<void> {
  await page.goto('/files');
  const names = [
    'Lease 2026.txt',
    'Minutes of March.txt',
    'Minutes of April.txt',
    'Insurance.txt',
    'Suppliers.csv',
  ];
  const files = names.map((name, index) => ({
    name,
    mimeType: 'text/plain',
    buffer: Buffer.from(`${name}\n\n${'The parties agree as follows.\n'.repeat(40 * (index + 1))}`),
  }));
  await page.getByLabel('Files to upload').setInputFiles(files);
  await page.getByRole('heading', { name: `${files.length} files uploaded` }).waitFor();
}

async function tour(
  browser: Browser,
  appliance: Appliance,
  view: View,
  stops: [string, string][],
): Promise<void> {
  const { context, page } = await openPage(browser, appliance.url, view);
  await page.goto('/');
  await page.getByLabel('E-mail').fill(OWNER.email);
  await page.getByLabel('Password').fill(OWNER.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('Are we safe?').waitFor();
  for (const [path, name] of stops) {
    await page.goto(path);
    await page.getByRole('heading', { level: 1 }).waitFor();
    if (path === '/restore-tests' || path === '/files') {
      const first = path === '/files' ? page.locator('tbody .name button') : page.locator('tbody a');
      await first.first().click();
    }
    await page.waitForLoadState('networkidle').catch(() => undefined);
    await shoot(page, name);
  }
  await context.close();
}

await mkdir(OUT, { recursive: true });
const elsewhere = await mkdtemp('/dev/shm/vault-eu-');
const [browser, served] = await Promise.all([startBrowser(), startAppliance()]);
// Another file system than the data's, as storage elsewhere would be.
const appliance: Appliance = { ...served, targetDir: elsewhere };
try {
  await firstRun(browser, appliance);
  await tour(browser, appliance, LIGHT, [
    ['/', 'overview'],
    ['/files', 'files'],
    ['/restore-tests', 'restore-test'],
  ]);
  await tour(browser, appliance, { width: 1280, theme: 'dark' }, [['/', 'overview-dark']]);
  await tour(browser, appliance, { width: 375, theme: 'light' }, [['/', 'overview-small']]);
} finally {
  await browser.close();
  await appliance.stop();
  await rm(elsewhere, { recursive: true, force: true });
}
