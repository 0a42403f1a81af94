/** The whole way in the browser: claim, kit, target, snapshot, proof, files, and the same copy proven again from the console's pages. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectAccessible } from './accessible.ts';
import type { Browser } from 'playwright-core';
import { keepingSight, openPage, startAppliance, startBrowser, type View } from './browser.ts';
import { addFirstTarget, claimWithKit, proveFirstSnapshot } from './first-run.ts';

const VIEWS: View[] = [
  { width: 1280, theme: 'light' },
  { width: 375, theme: 'dark' },
];
const LIMIT_MS = 300_000;

let browser: Browser;
beforeAll(async () => {
  browser = await startBrowser();
});
afterAll(async () => {
  await browser.close();
});

describe.each(VIEWS)('at $width px, $theme', (view) => {
  it(
    'an appliance is claimed, takes files, and proves its snapshot with the recovery kit',
    { timeout: LIMIT_MS },
    async () => {
      const appliance = await startAppliance();
      const { context, page, complaints } = await openPage(browser, appliance.url, view);
      try {
        await keepingSight(page, `first-run-${view.width}`, async () => {
          const kit = await claimWithKit(page, appliance, expectAccessible);
          // A reload goes on where the appliance stands, not where the browser was.
          await page.getByRole('heading', { name: 'Where do the backups go?' }).waitFor();
          await page.goto('/setup');
          await addFirstTarget(page, appliance, expectAccessible);
          await proveFirstSnapshot(page, kit, expectAccessible);

          await page.goto('/targets');
          // The test's target lies beside the data, and that is said.
          await page.locator('tbody').getByText('local copy, not offsite').waitFor();

          await page.goto('/files');
          await page.getByText('This folder is empty').waitFor();
          await page.getByLabel('Files to upload').setInputFiles([
            {
              name: 'letter.txt',
              mimeType: 'text/plain',
              buffer: Buffer.from('Dear reader\n'.repeat(2_000)),
            },
            { name: 'empty.bin', mimeType: 'application/octet-stream', buffer: Buffer.alloc(0) },
          ]);
          await page.getByRole('button', { name: 'letter.txt', exact: true }).waitFor();
          await page.getByRole('heading', { name: '2 files uploaded' }).waitFor();
          await page.getByRole('button', { name: 'Close the uploads' }).click();
          await page.getByRole('button', { name: 'letter.txt', exact: true }).click();
          const text = page.frameLocator('iframe').locator('body');
          await text.getByText('Dear reader').first().waitFor();
          await expectAccessible(page, 'files with a preview');

          await page.goto('/snapshots');
          await page.getByRole('button', { name: 'Take a snapshot' }).click();
          await page.getByRole('status').getByText('Done').waitFor({ timeout: 120_000 });
          await page.locator('tbody').getByText('No. 2').waitFor();
          await expectAccessible(page, 'snapshots');

          await page.goto('/restore-tests/new?step=ready&mode=full');
          await page
            .getByRole('button', { name: 'Start the test' })
            .and(page.locator('[aria-disabled=false]'))
            .click();
          await page.getByText('DATA PROVEN').waitFor({ timeout: 120_000 });
          await expectAccessible(page, 'restore test');
          expect(complaints).toEqual([]);
        });
      } finally {
        await context.close();
        await appliance.stop();
      }
    },
  );
});
