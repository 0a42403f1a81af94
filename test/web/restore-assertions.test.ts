/** The restore-test wizard in a real browser, from an assertion that is written and tried to the signed PDF that says how it was answered. */
import { readFile } from 'node:fs/promises';
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import { takeAttachedReport } from '../../server/lib/report-pages.ts';
import { readReport } from '../../server/restore-tests/report.ts';
import { addDirectoryTarget, finishRun } from '../helpers/served-appliance.ts';
import { expectAccessible, expectAccessibleEverywhere } from './accessible.ts';
import { takeSights } from './browser.ts';
import { claimedAppliance } from './claimed.ts';

const LIMIT_MS = 300_000;
const HOLDS = 'There is an owner who can sign in';

const here = claimedAppliance(async (claimed) => {
  await addDirectoryTarget(claimed, claimed.appliance.targetDir);
  await finishRun(claimed, claimed.call('POST', '/snapshots'));
});

/** Walks the wizard by its buttons. @returns the report that is attached to the PDF. */
async function walk(page: Page, verdict: string, copy: 'newest' | 'random') {
  await page.goto('/restore-tests');
  await page.getByRole('link', { name: 'New test' }).click();
  await page.getByRole('region', { name: 'Which copy?' }).waitFor();
  await page.locator(`input[name=copy][value=${copy}]`).check();
  await takeSights(page, `wizard-copy-${copy}`);
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('region', { name: 'How much?' }).waitFor();
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('region', { name: 'Opened with which key?' }).waitFor();
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByText(HOLDS).waitFor();
  await expectAccessible(page, 'the checks of a test');
  await takeSights(page, 'wizard-checks');
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('region', { name: 'Ready?' }).waitFor();
  await page.getByText('No other restore test is under way').waitFor();
  await expectAccessible(page, 'a test that is ready');
  await takeSights(page, 'wizard-ready');
  await page.getByRole('button', { name: 'Start the test' }).click();
  const result = page.getByRole('region', { name: 'Result' });
  await result.getByText(verdict, { exact: true }).waitFor({ timeout: 120_000 });
  const download = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Report, PDF' }).click();
  const pdf = await readFile(await (await download).path());
  return readReport(takeAttachedReport(pdf));
}

it(
  'an assertion is written, tried, asked in a test that passes and in one that fails, and stands in the signed PDF',
  async () => {
    await here.asOwner('restore-assertions', '/restore-tests/assertions', async (page) => {
      await page.getByText('Nothing of your own is asked yet').waitFor();
      await expectAccessibleEverywhere(page, 'no assertions');
      await takeSights(page, 'assertions-none');
      await page.getByRole('button', { name: 'New assertion' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByRole('button', { name: HOLDS }).click();
      await dialog.getByRole('button', { name: 'Try it on the newest snapshot' }).click();
      await dialog.getByText('It holds.').waitFor({ timeout: 60_000 });
      await expectAccessible(page, 'an assertion that was tried');
      await takeSights(page, 'assertions-tried');
      await dialog.getByLabel('Statement').fill('select count(*) from sessions');
      await dialog.getByRole('button', { name: 'Try it on the newest snapshot' }).click();
      await dialog.getByText('Found: refused: it reads or calls something').waitFor({ timeout: 60_000 });
      await dialog.getByRole('button', { name: HOLDS }).click();
      await dialog.getByRole('button', { name: 'Keep it' }).click();
      await page.getByRole('heading', { name: HOLDS }).waitFor();

      const limits = page.getByRole('region', { name: 'Objectives and limits' });
      await limits.getByLabel('Restored within').fill('30');
      await limits.getByLabel('Lost at most').fill('1');
      await limits.getByRole('button', { name: 'Save' }).click();
      await limits.getByText('Nothing is changed').waitFor();

      const passed = await walk(page, 'DATA PROVEN', 'newest');
      expect(passed.checks.filter(({ assertion }) => assertion !== undefined)).toMatchObject([
        { label: HOLDS, state: 'passed', found: '1' },
      ]);
      expect(passed).toMatchObject({
        copy: { choice: 'latest', newest: true },
        objectives: { rpoMs: 60_000 },
      });
      await page.getByText('Anyone can check the report offline').waitFor();
      await expectAccessibleEverywhere(page, 'a test with an assertion that holds');
      await takeSights(page, 'assertions-passed');

      await page.goto('/restore-tests/assertions');
      await page.getByRole('button', { name: 'New assertion' }).click();
      await dialog.getByLabel('Name').fill('A thousand people');
      await dialog.getByLabel('Statement').fill('select id from users');
      await dialog.getByLabel('It gives').selectOption('rows');
      await dialog.getByLabel('Rows').fill('1000');
      await dialog.getByRole('button', { name: 'Keep it' }).click();
      await page.getByRole('heading', { name: 'A thousand people' }).waitFor();
      await page.getByRole('button', { name: 'Ask A thousand people earlier' }).click();
      await expect
        .poll(() => page.getByRole('heading', { level: 2 }).allInnerTexts())
        .toEqual(expect.arrayContaining(['A thousand people', HOLDS]));
      await page.getByRole('button', { name: `Versions of ${HOLDS}` }).click();
      await dialog.getByText('Version 1').waitFor();
      await expectAccessible(page, 'versions of an assertion');
      await page.keyboard.press('Escape');
      await expectAccessibleEverywhere(page, 'two assertions');
      await takeSights(page, 'assertions-two');

      const failed = await walk(page, 'FAILED', 'random');
      expect(failed.checks.filter(({ state }) => state === 'failed')).toMatchObject([
        { label: 'A thousand people', found: '1 row' },
      ]);
      expect(failed.copy).toMatchObject({ choice: 'random', drawnFrom: 1 });
      await takeSights(page, 'assertions-failed');
      await page.goto('/restore-tests');
      await page.getByText('Next by schedule').waitFor();
      await takeSights(page, 'restore-tests');
      await page.goto('/settings/schedules');
      await page.getByText('Recovery drill').first().waitFor();
      await page.getByLabel('Of full restore tests, which copy').selectOption('random');
      await expectAccessibleEverywhere(page, 'the schedules');
      await takeSights(page, 'schedules');
      await page.getByRole('button', { name: 'Save the schedules' }).click();
      await page.getByText('Schedules saved').waitFor();
    });
  },
  LIMIT_MS,
);
