/** Several targets in a real browser: adding one, what it lacks, catching it up, order and rule, and reading from the one that is chosen. */
import { mkdir, rename, rm } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { addDirectoryTarget, finishRun, putFile } from '../helpers/served-appliance.ts';
import { expectAccessibleEverywhere } from './accessible.ts';
import { takeSights } from './browser.ts';
import { claimedAppliance } from './claimed.ts';

const LIMIT_MS = 480_000;

const here = claimedAppliance(async (claimed) => {
  await putFile(claimed, 'note.txt', 'kept in two places');
  await addDirectoryTarget(claimed, claimed.appliance.targetDir);
  await finishRun(claimed, claimed.call('POST', '/snapshots'));
});

it(
  'a second target is added, caught up, ordered and read from; one that is away says so, and the rule says how many are enough',
  async () => {
    const second = `${here.appliance.targetDir}-second`;
    await mkdir(second);
    await here.asOwner('several-targets', '/targets/new', async (page) => {
      await page.getByText('Each snapshot goes to nas and to the new target').waitFor();
      await page.getByLabel('Name', { exact: true }).fill('vault');
      await page.getByLabel('Folder on the appliance').fill(second);
      await page.getByRole('button', { name: 'Try it' }).click();
      await page.getByLabel('The newest only').check();
      await takeSights(page, 'several-new');
      await page.getByRole('button', { name: 'Add the target' }).click();
      const copies = page.getByRole('region', { name: 'Snapshots on it' });
      // By itself within a minute.
      await copies.getByText('Up to date').waitFor({ timeout: 200_000 });
      const reading = page.getByRole('region', { name: 'Reading back' });
      await reading.getByText('Nothing is read back by itself').waitFor();
      await reading.getByRole('button', { name: 'Read the next part' }).click();
      await reading.getByText('1 of 30 parts').waitFor({ timeout: 60_000 });
      await reading.getByRole('link', { name: 'Schedules' }).click();
      await page.getByLabel('Everything is read back once in').selectOption('7 days');
      await takeSights(page, 'read-back-schedule');
      await page.getByRole('button', { name: 'Save the schedules' }).click();
      await page.getByText('Schedules saved').waitFor();
      await page.goBack();
      await reading.getByText('not begun, of 7 parts').waitFor();
      await takeSights(page, 'read-back');
      await page.getByRole('region', { name: 'Price' }).getByLabel('For a GB and month').fill('0.05');
      await page.getByLabel('Currency').fill('EUR');
      await page.getByRole('region', { name: 'Price' }).getByRole('button', { name: 'Save' }).click();
      await copies.getByText('0.05 EUR for a GB and month').waitFor();
      const sending = page.getByRole('region', { name: 'Sending' });
      await sending.getByLabel('Limited at certain hours').check();
      await sending.getByLabel('At most').fill('1');
      await sending.getByText('2 to 80,000 Mbit/s').first().waitFor();
      await sending.getByLabel('At most').fill('20');
      await sending.getByLabel('Sat').check();
      await takeSights(page, 'sending');
      await sending.getByRole('button', { name: 'Save', exact: true }).click();
      await page.getByText('It holds from the next run on').waitFor();
      await sending.getByText('Nothing is changed').first().waitFor();
      await sending.getByLabel('Work on it may begin').selectOption('Only at certain hours');
      const until = sending.getByLabel('To', { exact: true }).last();
      await until.fill('20:30');
      await until.blur();
      await sending.getByText('Hours are at least one hour long').waitFor();
      await until.fill('20:00');
      await until.blur();
      await sending.getByRole('button', { name: 'Add other hours' }).click();
      await takeSights(page, 'work-hours');
      await sending.getByRole('button', { name: 'Remove these hours' }).first().click();
      await sending.getByRole('button', { name: 'Save the hours' }).click();
      await page.getByText('It holds for what begins from now on').waitFor();
      await sending.getByLabel('Work on it may begin').selectOption('At any time');
      await sending.getByRole('button', { name: 'Save the hours' }).click();
      await sending.getByText('Nothing is changed').last().waitFor();
      await expectAccessibleEverywhere(page, 'a target that is up to date');
      await page.setViewportSize({ width: 1280, height: 900 });

      await rename(second, `${second}-away`);
      expect(await finishRun(here, here.call('POST', '/snapshots'))).toMatchObject({
        state: 'partial',
        error: { message: 'The snapshot is on 1 of 2 targets, and has to be on 2' },
      });
      await page.goto('/targets');
      const row = page.getByRole('row').filter({ hasText: 'vault' });
      await row.getByText('Not reached').waitFor();
      await row.getByText('1 behind').waitFor();
      await expectAccessibleEverywhere(page, 'targets of which one is away');
      await page.setViewportSize({ width: 1280, height: 900 });
      await takeSights(page, 'several-away');
      await page.goto('/');
      await page.getByText('The newest snapshot is on 1 of 2 targets').first().waitFor();

      await page.goto('/targets');
      const rule = page.getByRole('region', { name: 'When is a snapshot stored?' });
      await rule.getByText('A snapshot is stored when all 2 targets have it').waitFor();
      await rule.getByLabel('It has to be on').selectOption('1');
      await rule.getByRole('button', { name: 'Save' }).click();
      await rule.getByText('A snapshot is stored when 1 of the 2 targets has it.').waitFor();

      await rm(second, { recursive: true, force: true });
      await rename(`${second}-away`, second);
      await row.getByRole('link', { name: 'vault' }).click();
      await copies.getByText('It lacks').waitFor();
      await takeSights(page, 'several-behind');
      await copies.getByRole('button', { name: 'Catch up now' }).click();
      await copies.getByText('Up to date').waitFor({ timeout: 200_000 });
      await copies.getByRole('status').getByText('Done').waitFor();
      await takeSights(page, 'several-caught-up');

      await page.goto('/targets');
      await page.getByRole('button', { name: 'Actions for vault' }).click();
      await page.getByRole('menuitem', { name: 'Earlier in the order' }).click();
      await row.getByText('Leads: takes each snapshot first').waitFor();

      await page.goto('/snapshots');
      await page.getByRole('row').nth(1).getByRole('link').first().click();
      const places = page.getByRole('region', { name: 'Copies' });
      await places.getByRole('link', { name: 'vault' }).waitFor();
      await page.getByRole('button', { name: 'Forget' }).click();
      await page.getByRole('dialog').getByLabel('Where').selectOption('only on vault');
      await takeSights(page, 'several-forget');
      await page.keyboard.press('Escape');
      await places
        .getByRole('row')
        .filter({ hasText: 'vault' })
        .getByRole('link', { name: 'Browse' })
        .click();
      await page.getByRole('button', { name: 'Restore note.txt' }).click();
      await page
        .getByRole('dialog')
        .getByRole('button', { name: /Restore/ })
        .click();
      await page.getByRole('status').getByText('Done').waitFor({ timeout: 60_000 });
    });
  },
  LIMIT_MS,
);
