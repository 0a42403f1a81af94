/** A verification in a real browser, from the target's page to the signed PDF and the page where all evidence is. */
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { readVerificationReport } from '../../server/backups/verification-reports/report.ts';
import { takeAttachedReport } from '../../server/lib/report-pages.ts';
import { addDirectoryTarget, finishRun } from '../helpers/served-appliance.ts';
import { expectAccessibleEverywhere } from './accessible.ts';
import { takeSights } from './browser.ts';
import { claimedAppliance } from './claimed.ts';

const LIMIT_MS = 300_000;

const here = claimedAppliance(async (claimed) => {
  await addDirectoryTarget(claimed, claimed.appliance.targetDir);
  await finishRun(claimed, claimed.call('POST', '/snapshots'));
});

it(
  'all of a target is verified, and its report is found on its page, on that of the run and among the evidence',
  async () => {
    await here.asOwner('verification-reports', '/targets', async (page) => {
      await page.getByRole('link', { name: 'nas' }).click();
      await page.getByText('No report yet').waitFor();
      const reading = page.getByRole('region', { name: 'Reading back' });
      await reading.getByRole('button', { name: 'Verify all of it' }).click();
      const reports = page.getByRole('region', { name: 'Reports of verifications' });
      await reports.getByText('Everything at once').waitFor({ timeout: 60_000 });
      await takeSights(page, 'verification-reports-target');
      await expectAccessibleEverywhere(page, 'a target with a report');

      const download = page.waitForEvent('download');
      await reports.getByRole('link', { name: /^Report of .*, PDF$/ }).click();
      const signed = takeAttachedReport(await readFile(await (await download).path()));
      const report = readVerificationReport(signed);
      expect(report).toMatchObject({ scope: 'whole', state: 'whole', target: { name: 'nas' } });
      const json = page.waitForEvent('download');
      await reports.getByRole('link', { name: /signed JSON lines$/ }).click();
      expect(await readFile(await (await json).path())).toEqual(signed);

      await page.goto(`/runs/${report.readings[0]?.runId ?? ''}`);
      await reports.getByText('Whole', { exact: true }).waitFor();
      await takeSights(page, 'verification-reports-run');
      await page.goto('/restore-tests');
      await reports.getByRole('link', { name: 'nas' }).waitFor();
      await takeSights(page, 'verification-reports-evidence');
      await expectAccessibleEverywhere(page, 'the page of all evidence');
    });
  },
  LIMIT_MS,
);
