/** An appliance in quarantine, in a real browser: why, and the owner's word that it is the one to go on with. */
import { expect, it } from 'vitest';
import { addDirectoryTarget, expectStatus, finishRun } from '../helpers/served-appliance.ts';
import { expectAccessibleEverywhere } from './accessible.ts';
import { takeSights } from './browser.ts';
import { claimedAppliance } from './claimed.ts';
import { inDatabase } from './in-database.ts';

const LIMIT_MS = 240_000;

const here = claimedAppliance(({ call, appliance }) => addDirectoryTarget({ call }, appliance.targetDir));

it(
  'the owner sees why nothing is backed up, releases it, and snapshots go on',
  async () => {
    // As a recovery with --beside leaves it.
    await inDatabase(here.appliance, (client) =>
      client.query(`update appliance set quarantined_at = now(), quarantine_kind = 'beside',
        quarantine_reason = 'it was recovered from snapshot 3, beside an appliance that may still run'`),
    );
    await here.asOwner('quarantine', '/targets', async (page) => {
      await page.getByRole('link', { name: 'Look at it and decide' }).click();
      const panel = page.getByRole('region', { name: 'It waits for an owner' });
      await panel.getByText('beside an appliance that may still run').waitFor();
      await expectAccessibleEverywhere(page, 'an appliance in quarantine');
      await takeSights(page, 'quarantine');
      expect(await finishRun(here, here.call('POST', '/snapshots'))).toMatchObject({ state: 'failed' });

      await panel.getByRole('button', { name: 'Let it go on' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByRole('textbox').fill('Vault');
      await dialog.getByText('Every other copy must be off').waitFor();
      await dialog.getByRole('checkbox').check();
      await takeSights(page, 'quarantine-release');
      await dialog.getByRole('button', { name: 'Let it go on' }).click();
      await page.getByText('This appliance is not in quarantine').waitFor();
      await panel.waitFor({ state: 'detached' });
    });
    const { quarantine } = await expectStatus(here.call<{ quarantine: unknown }>('GET', '/quarantine'), 200);
    expect(quarantine).toBeNull();
    expect(await finishRun(here, here.call('POST', '/snapshots'))).toMatchObject({ state: 'succeeded' });
  },
  LIMIT_MS,
);
