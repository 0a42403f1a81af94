/** How long snapshots are kept, in a real browser: proposed for a new target, previewed, saved, asked for; a legal hold set and lifted. */
import { expect, it } from 'vitest';
import { addDirectoryTarget, finishRun, OWNER } from '../helpers/served-appliance.ts';
import { expectAccessible, expectAccessibleEverywhere } from './accessible.ts';
import { takeSights } from './browser.ts';
import { claimedAppliance } from './claimed.ts';

const LIMIT_MS = 240_000;

const here = claimedAppliance();
let targetId: string;

it(
  'a policy is proposed for a new target, previewed with reasons, and asks a second person for a large removal',
  async () => {
    await here.asOwner('retention', '/targets/new', async (page) => {
      const proposed = page.getByRole('region', { name: 'How long snapshots are kept there' });
      await proposed.getByText('Kept are the last 3, all of 7 days, 30 daily').waitFor();
      await proposed.getByText('Change it').click();
      await proposed.getByLabel('Daily').fill('14');
      await proposed.getByText('14 daily').waitFor();
      await expectAccessibleEverywhere(page, 'the policy of a new target');
      await page.setViewportSize({ width: 1280, height: 900 });
      await takeSights(page, 'retention-new-target');
      await proposed.getByLabel('Keep everything').check();
      await proposed.getByText('Every snapshot is kept until somebody forgets it.').waitFor();

      targetId = await addDirectoryTarget(here, here.appliance.targetDir);
      await page.goto(`/targets/${targetId}`);
      const panel = page.getByRole('region', { name: 'Retention' });
      await panel.getByText('Every snapshot is kept until somebody forgets it.').waitFor();
      await panel.getByRole('button', { name: 'Change the policy' }).click();
      await panel.getByText('No snapshot yet').waitFor();
      await panel.getByRole('button', { name: 'Cancel' }).click();

      for (let count = 0; count < 4; count += 1) {
        await finishRun(here, here.call('POST', '/snapshots'));
      }
      await page.goto('/snapshots');
      await page.getByRole('row').nth(4).getByRole('link').first().click();
      await page.getByRole('button', { name: 'Put it under legal hold' }).click();
      await page.getByRole('dialog').getByLabel('Why').fill('Litigation with a supplier');
      await expectAccessible(page, 'a hold about to be set');
      await page.getByRole('button', { name: 'Hold it' }).click();
      await page.getByText('Litigation with a supplier').waitFor();
      await page.getByRole('link', { name: OWNER.name }).waitFor();
      await page.locator('button[aria-disabled=true]', { hasText: 'Forget' }).waitFor();
      await expectAccessibleEverywhere(page, 'a held snapshot');
      await page.setViewportSize({ width: 1280, height: 900 });
      await takeSights(page, 'retention-held');

      await page.goto('/snapshots');
      await page.getByRole('button', { name: 'Under legal hold' }).click();
      await expect.poll(() => page.getByRole('row').count()).toBe(2);
      await takeSights(page, 'retention-snapshots');

      await page.goto(`/targets/${targetId}`);
      await panel.getByRole('button', { name: 'Change the policy' }).click();
      await panel.getByText('0 of 4 snapshots would go').waitFor();
      await panel.getByLabel('By rules').check();
      await panel.getByLabel('Days begin in').selectOption('Europe/Berlin');
      for (const label of ['The last', 'Daily', 'Weekly', 'Monthly', 'All within days', 'Never fewer than'])
        await panel.getByLabel(label, { exact: true }).fill(label === 'Never fewer than' ? '1' : '0');
      // Two go, one is held, one is the newest.
      await panel.getByText('2 of 4 snapshots would go').waitFor();
      await panel.getByText('under legal hold: Litigation with a supplier').waitFor();
      await panel.getByText('no rule keeps it').first().waitFor();
      // Only the machine image stores logs and configuration of a machine.
      await panel.getByText('No snapshot here has logs and configuration of a machine').waitFor();
      await panel.getByLabel('Logs and configuration', { exact: true }).fill('200');
      await panel.getByText('Logs and configuration may not be kept for more than the maximum age').waitFor();
      await panel.getByLabel('Logs and configuration have a time of their own').uncheck();
      await panel.getByText('2 of 4 snapshots would go').waitFor();
      await panel.getByLabel('Logs and configuration have a time of their own').check();
      await panel.getByLabel('Logs and configuration', { exact: true }).fill('14');
      await panel.getByText('2 of 4 snapshots would go').waitFor();
      await expectAccessibleEverywhere(page, 'a policy with its preview');
      await page.setViewportSize({ width: 1280, height: 900 });
      await takeSights(page, 'retention-preview');
      await panel.getByRole('button', { name: 'Save the policy' }).click();
      await page.getByText('Saved: it is carried out within a minute').waitFor();
      await panel
        .getByText(
          'at least 1, nothing older than 180 days; logs and configuration for 14 days (Europe/Berlin)',
        )
        .waitFor();
      await panel.getByRole('button', { name: 'Carry it out now' }).click();
      await panel.getByText('Carried out', { exact: true }).first().waitFor({ timeout: 60_000 });
      await panel.getByRole('status').getByText('Done').waitFor({ timeout: 60_000 });
      await expectAccessibleEverywhere(page, 'a policy that was carried out');
      await page.setViewportSize({ width: 1280, height: 900 });
      await takeSights(page, 'retention-applied');

      await page.goto('/snapshots?held=true');
      await page.getByRole('row').nth(1).getByRole('link').first().click();
      await page.getByRole('button', { name: 'Lift the hold' }).click();
      await page.getByRole('dialog').getByLabel('Why').fill('Settled');
      await page.getByRole('button', { name: 'Lift it' }).click();
      await page.getByText('A held snapshot is kept beyond every policy').waitFor();
      await page.goto('/snapshots?held=true');
      await page.getByText('No snapshot under legal hold').waitFor();

      await page.goto('/snapshots');
      await page.getByRole('row').nth(1).getByRole('link').first().click();
      // Before the snapshot is read, the title has no number.
      const title = page.getByRole('heading', { level: 1, name: /^Snapshot \d/ });
      const number = /\d+/.exec(await title.innerText())?.[0] ?? '';
      await page.getByRole('button', { name: 'Forget' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByLabel(/to confirm/).fill(`snapshot ${number}`);
      await dialog.getByLabel('Why').fill('Space is short');
      await takeSights(page, 'retention-forget');
      await dialog.getByRole('button', { name: 'Forget' }).click();
      await page.getByText('Nothing has changed yet: it runs by itself').waitFor();
      await page.goto('/approvals');
      await page.getByRole('region', { name: 'Forget a snapshot that protects the rest' }).waitFor();
      await takeSights(page, 'retention-approval');
    });
  },
  LIMIT_MS,
);
