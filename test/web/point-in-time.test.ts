/** Point in time, in a real browser and with the real worker: switched on, a moment chosen and tested, switched off. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  addDirectoryTarget,
  callerOf,
  claimAppliance,
  expectStatus,
  finishRun,
  OWNER,
} from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import type { PointInTimeStatus } from '../../server/backups/wal/schema.ts';
import { expectAccessibleEverywhere } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { signIn } from './sign-in.ts';

const LIMIT_MS = 420_000;
const SIGHTS = process.env.HOLDFAST_TEST_SIGHTS;

let browser: Browser;
let appliance: Appliance;
const caller = () => callerOf(appliance.url);
let call: ReturnType<typeof caller>['call'];

beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
  const served = { ...caller(), claimCode: appliance.claimCode };
  call = served.call;
  await claimAppliance(served);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
}, LIMIT_MS);

async function look(page: Page, name: string): Promise<void> {
  if (SIGHTS === undefined) return;
  for (const width of [1280, 375]) {
    await page.setViewportSize({ width, height: 900 });
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(300);
      await page.screenshot({ path: `${SIGHTS}/${name}-${width}-${colorScheme}.png`, fullPage: true });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 900 });
}

it(
  'the log is shipped once it is switched on, a chosen moment is tested, and the command for a recovery is there',
  async () => {
    const { context, page, complaints } = await openPage(browser, appliance.url, {
      width: 1280,
      theme: 'light',
    });
    await keepingSight(page, 'point-in-time', async () => {
      await addDirectoryTarget({ call }, appliance.targetDir);
      await finishRun({ call }, call('POST', '/snapshots'));
      await page.goto('/point-in-time');
      await signIn(page, OWNER);
      await page.getByText('The log of changes is not shipped').waitFor();
      await expectAccessibleEverywhere(page, 'point in time, off');
      await look(page, 'point-in-time-off');
      await page.getByRole('button', { name: 'Switch it on' }).click();
      await page.getByText('Alert when behind by').waitFor();

      const status = await waitFor(
        'a moment that can be restored',
        async () => {
          const now = await expectStatus(call<PointInTimeStatus>('GET', '/point-in-time'), 200);
          const [target] = now.targets;
          return target?.windows.length === 1 && target.state === 'shipping' ? now : undefined;
        },
        180_000,
        1_000,
      );
      expect(status.targets[0]).toMatchObject({ late: false, gaps: [], problem: null });
      await page.getByText('Shipping', { exact: true }).waitFor();
      await page.getByText('holdfast recover --from').waitFor();
      await expectAccessibleEverywhere(page, 'point in time, on');
      await page.setViewportSize({ width: 1280, height: 900 });
      await look(page, 'point-in-time-on');

      await page.getByLabel('Moment (UTC)').fill('2020-01-01T00:00:00');
      await page.getByText('That moment cannot be restored from this target.').waitFor();
      await page.locator('button[aria-disabled=true]', { hasText: 'Test this moment' }).waitFor();
      await page.reload();
      await page.getByRole('button', { name: 'Test this moment' }).click();
      await page.getByText('Write-ahead log up to the chosen moment').first().waitFor({ timeout: 60_000 });
      await page.getByText('Data proven').first().waitFor({ timeout: 120_000 });
      await look(page, 'point-in-time-test');

      await page.goto('/point-in-time');
      await page.getByText('By a position of the log (LSN)').click();
      await page.getByLabel('Position', { exact: true }).fill('one/two');
      await page.getByText('Two hexadecimal numbers').waitFor();
      await page.getByLabel('Position', { exact: true }).fill('ffffffff/0');
      await page.getByText('--to-lsn FFFFFFFF/0').waitFor();
      await look(page, 'point-in-time-position');
      await page.getByRole('button', { name: 'Test this position' }).click();
      const refused = page.getByText(/The last one is [0-9A-F]+\/[0-9A-F]+/);
      await refused.waitFor();
      const [last = ''] = /[0-9A-F]+\/[0-9A-F]+/.exec((await refused.textContent()) ?? '') ?? [];
      await page.getByLabel('Position', { exact: true }).fill(last);
      await page.getByRole('button', { name: 'Test this position' }).click();
      await page.getByText('Data proven').first().waitFor({ timeout: 120_000 });

      await page.goto('/point-in-time');
      await page.getByRole('button', { name: 'Change' }).click();
      await page.getByLabel('How many days back').fill('8');
      await page.getByText('Days are 1 to 7').waitFor();
      await page.getByLabel('How many days back').fill('3');
      await page.getByLabel('Ship the log of changes to every target').uncheck();
      await page.getByText('From then on only snapshots can be restored').waitFor();
      await expectAccessibleEverywhere(page, 'settings of point in time');
      await page.setViewportSize({ width: 1280, height: 900 });
      await look(page, 'point-in-time-settings');
      await page.getByRole('button', { name: 'Save' }).click();
      await page.getByText('The log of changes is not shipped').waitFor();
      expect(complaints).toEqual([]);
    });
    await context.close();
  },
  LIMIT_MS,
);
