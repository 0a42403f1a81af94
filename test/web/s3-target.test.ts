/** An S3 target in a real browser, on an S3 server that other people wrote: tried, added, its key changed. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startS3Server, type S3Server } from '../helpers/s3-server.ts';
import { expectAccessible } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { claimWithKit } from './first-run.ts';
import { inDatabase } from './in-database.ts';

const LIMIT_MS = 240_000;
const ON_ONE_MACHINE = { HOLDFAST_OWN_MACHINE: 'allow' };

let browser: Browser;
let appliance: Appliance;
let server: S3Server;
beforeAll(async () => {
  [browser, appliance, server] = await Promise.all([
    startBrowser(),
    startAppliance(ON_ONE_MACHINE),
    startS3Server(),
  ]);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
  await server.stop();
}, LIMIT_MS);

async function look(page: Page, name: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    for (const width of [1280, 375]) {
      await page.setViewportSize({ width, height: 900 });
      await expectAccessible(page, `${name}, ${colorScheme}, ${String(width)}`);
      await page.screenshot({
        path: `.cache/web/s3-${name}-${colorScheme}-${String(width)}.png`,
        fullPage: true,
      });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 900 });
}

/** As one that was added in a bucket that locks, which this server has not. */
async function lockTarget(lock: object): Promise<void> {
  await inDatabase(appliance, (database) =>
    database.query(`update targets set settings = settings || $1`, [JSON.stringify({ lock })]),
  );
}

it(
  'an owner adds an S3 bucket, and later changes its key and its lock',
  async () => {
    const { context, page, complaints } = await openPage(browser, appliance.url, {
      width: 1280,
      theme: 'light',
    });
    await keepingSight(page, 's3', async () => {
      await claimWithKit(page, appliance, () => Promise.resolve());
      await page.getByRole('heading', { name: 'Where do the backups go?' }).waitFor();
      await page.getByLabel('Name').fill('vault-s3');
      await page.getByRole('radio', { name: 'S3 bucket' }).check();
      await page.getByText('The endpoint looks like https://s3.example.org').first().waitFor();
      await page.getByLabel('Endpoint').fill('http://192.0.2.7:9000');
      await page.getByText('Plain HTTP.').waitFor();
      await page.getByLabel('Endpoint').fill(server.endpoint);
      await page.getByLabel('Bucket', { exact: true }).fill('holdfast-test');
      await page.getByLabel('Prefix').fill('office/holdfast');
      await page.getByLabel('Access key id').fill('STRANGER');
      await page.getByLabel('Secret key').fill('S3RVER');
      await page.getByRole('radio', { name: 'Governance' }).check();
      await page.getByLabel('As long as the policy promises to keep a snapshot: 30 days').waitFor();
      await page.getByText('More about the server').click();
      await look(page, 'form');

      const tryIt = page.getByRole('button', { name: 'Try it: write, read, list' });
      await tryIt.click();
      await page.locator('p.error', { hasText: 'does not know this access key' }).waitFor();
      await page.getByLabel('Access key id').fill('S3RVER');
      await tryIt.click();
      await page.locator('p.error', { hasText: 'This bucket cannot lock objects' }).waitFor();
      await look(page, 'refused');
      await page.getByRole('radio', { name: 'No lock' }).check();
      await tryIt.click();
      const add = page.getByRole('button', { name: 'Add the target' });
      await add.and(page.locator('[aria-disabled=false]')).waitFor();
      await look(page, 'tried');
      await add.click();
      await page.getByRole('heading', { name: 'How often?' }).waitFor();

      await page.goto('/targets');
      await page.getByRole('link', { name: 'vault-s3' }).click();
      await page.getByText('office/holdfast', { exact: true }).waitFor();
      await look(page, 'target');
      await page.getByRole('button', { name: 'Change the key' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByLabel('Access key id').fill('STRANGER');
      await dialog.getByLabel('Secret key').fill('S3RVER');
      await dialog.getByRole('button', { name: 'Try and keep it' }).click();
      await dialog.getByText('does not know this access key').waitFor();
      await dialog.getByLabel('Access key id').fill('S3RVER');
      await dialog.getByRole('button', { name: 'Try and keep it' }).click();
      await dialog.waitFor({ state: 'hidden' });
      await page.getByText('Objects can be written, durably and only once.').waitFor();

      await lockTarget({ mode: 'compliance', days: 30 });
      await page.reload();
      await page.getByText('Compliance, 30 days after the last snapshot that needs an object').waitFor();
      await page.getByRole('button', { name: 'Change the lock' }).click();
      const keep = dialog.getByRole('button', { name: 'Change the lock' });
      await dialog.getByLabel('Days', { exact: true }).fill('20');
      await dialog
        .getByText('Only what is stored from then on is locked for 20 days instead of 30.')
        .waitFor();
      await keep.and(page.locator('[aria-disabled=false]')).waitFor();
      await dialog.getByLabel('Days', { exact: true }).fill('5000');
      await keep.and(page.locator('[aria-disabled=true]')).waitFor();
      await dialog.getByLabel('As long as the policy promises to keep a snapshot: 30 days').check();
      await dialog.getByLabel('For so many days').check();
      await dialog.getByLabel('Days', { exact: true }).fill('90');
      await dialog.getByText('Nobody can take that back').waitFor();
      await keep.and(page.locator('[aria-disabled=true]')).waitFor();
      await look(page, 'lock');
      await dialog.getByLabel('Type vault-s3 to confirm').fill('vault-s3');
      await keep.click();
      await page.getByText('Compliance, 90 days after the last snapshot that needs an object').waitFor();
      await page.getByRole('button', { name: 'Change the lock' }).click();
      await dialog.getByLabel('As long as the policy promises').check();
      await keep.click();
      await page.getByText('needs an object, as the policy promises').waitFor();

      const panel = page.getByRole('region', { name: 'Retention' });
      await panel.getByRole('button', { name: 'Change the policy' }).click();
      await panel.getByLabel('Daily', { exact: true }).fill('60');
      await panel.getByText('is locked for 60 days instead of 30. Nobody can take that back').waitFor();
      await look(page, 'lock-follows');
      await panel.getByRole('button', { name: 'Save the policy' }).click();
      await page.getByText('Compliance, 60 days after').waitFor();
    });
    expect(complaints.filter((one) => !one.includes('502'))).toEqual([]);
    await context.close();
  },
  LIMIT_MS,
);
