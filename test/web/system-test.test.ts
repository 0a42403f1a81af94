/** A restore test of the scope `system` in a real browser, from the wizard to a result that claims no proof of the data. */
import { expect, it } from 'vitest';
import { addDirectoryTarget, finishRun } from '../helpers/served-appliance.ts';
import { expectAccessible, expectAccessibleEverywhere } from './accessible.ts';
import { takeSights } from './browser.ts';
import { claimedAppliance } from './claimed.ts';

const LIMIT_MS = 300_000;

const here = claimedAppliance(async (claimed) => {
  await addDirectoryTarget(claimed, claimed.appliance.targetDir);
  await finishRun(claimed, claimed.call('POST', '/snapshots'));
});

it(
  'what a machine needs besides its data is checked, and the page says that nothing of the data is proven',
  async () => {
    await here.asOwner('system-test', '/restore-tests/new?step=scope', async (page) => {
      const scope = page.getByRole('region', { name: 'How much?' });
      await scope.getByText('does not run on its own machine image').waitFor();
      await scope.locator('input[name=mode][value=system]').check();
      await expectAccessible(page, 'the scopes of a test');
      await takeSights(page, 'system-scope');
      for (const name of ['Opened with which key?', 'What will be checked', 'Ready?']) {
        await page.getByRole('button', { name: 'Continue' }).click();
        await page.getByRole('region', { name }).waitFor();
      }
      await page.getByText('only the facts of the appliance are there to be read').waitFor();
      await takeSights(page, 'system-ready');
      await page.getByRole('button', { name: 'Start the test' }).click();
      const result = page.getByRole('region', { name: 'Result' });
      await result.getByText('SYSTEM CHECKED', { exact: true }).waitFor({ timeout: 120_000 });
      await result.getByText('this proves none of it').waitFor();
      expect(await result.getByText('RPO').count()).toBe(0);
      await page.getByText('not of a machine image').filter({ visible: true }).first().waitFor();
      await takeSights(page, 'system-result');
      await expectAccessibleEverywhere(page, 'the result of a test of the system');
    });
  },
  LIMIT_MS,
);
