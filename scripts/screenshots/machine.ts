/**
 * The pages that only the machine image has: a real `holdfast serve` beside the real application of hostd, whose disk is an image
 * file. And the page of keys after a set-up by file that left its sealed kit to be fetched.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { generateAgeIdentity } from '../../server/keys/index.ts';
import { runHoldfast } from '../../test/helpers/served-appliance.ts';
import { openPage, startAppliance } from '../../test/web/browser.ts';
import { claimWithKit, OWNER } from '../../test/web/first-run.ts';
import { signIn } from '../../test/web/sign-in.ts';
import { NEXT_VERSION, startMachine, type HostedMachine } from '../../test/web/machine-host.ts';
import { LIGHT, type ShootAll } from './shoot.ts';

const PASSPHRASE = 'gravel umbrella cello 41';

export async function pictureMachine(browser: Browser, shoot: ShootAll): Promise<void> {
  const machine = await startMachine();
  const appliance = await startAppliance({ HOLDFAST_HOST_SOCKET: machine.socket });
  try {
    const { context, page } = await openPage(browser, appliance.url, LIGHT);
    await claimWithKit(
      page,
      appliance,
      (at, where) => (where === 'unlocking' ? shoot(at, 'machine setup unlocking') : Promise.resolve()),
      PASSPHRASE,
    );
    const at = async (path: string): Promise<void> => {
      await page.goto(`/appliance${path}`);
      await page.getByRole('heading', { level: 1 }).waitFor();
      await page.waitForLoadState('networkidle').catch(() => undefined);
    };
    const show = (name: string): Promise<void> => shoot(page, `machine ${name}`);
    await at('');
    await show('system');
    await page.getByRole('button', { name: 'Restart' }).click();
    await show('restart');
    await at('/hardening?state=all');
    await page.locator('tbody tr').first().waitFor();
    await show('hardening all');
    await at('/hardening');
    await show('hardening');
    await pictureWays(page, at, show);
    await pictureNetwork(page, at, show);
    await pictureShares(page, at, show);
    await pictureCertificate(page, at, show);
    await pictureUpdates(page, machine, at, show);
    await page.goto('/');
    await page.getByText('Are we safe?').waitFor();
    await page.waitForLoadState('networkidle').catch(() => undefined);
    await show('overview');
    await page.goto('/audit');
    await page.locator('tbody tr').first().waitFor();
    await show('audit');
    await context.close();
  } finally {
    await appliance.stop();
    await machine.close();
  }
}

type Go = (path: string) => Promise<void>;
type Show = (name: string) => Promise<void>;

async function pictureWays(page: Page, at: Go, show: Show): Promise<void> {
  await at('/unlock-ways');
  await page.locator('tbody tr').first().waitFor();
  await show('unlock ways');
  await page.getByRole('button', { name: 'Actions for Recovery kit' }).click();
  await page.getByText('A recovery key must be left').waitFor();
  await show('unlock ways menu');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Add a way' }).click();
  await page.getByRole('dialog').waitFor();
  await show('unlock ways add');
}

async function pictureNetwork(page: Page, at: Go, show: Show): Promise<void> {
  await at('/network');
  await show('network');
  await page.getByRole('radio', { name: /Fixed/ }).check();
  await page.getByLabel('Addresses with prefix').fill('192.0.2.10/24');
  await page.getByLabel('Gateways').fill('192.0.2.1');
  await show('network fixed');
  await page.getByRole('button', { name: 'Try for a minute' }).click();
  await page.getByRole('timer').waitFor();
  await show('network on trial');
  await page.getByRole('button', { name: 'Put the old ones back' }).click();
  await page.getByText('The old settings count again').waitFor();
}

async function pictureShares(page: Page, at: Go, show: Show): Promise<void> {
  await at('/shares');
  await show('shares empty');
  await page.getByRole('button', { name: 'Add a share' }).click();
  await page.getByRole('textbox', { name: 'Label' }).fill('NAS in the cellar');
  await page.getByRole('textbox', { name: 'Server' }).fill('nas.example.org');
  await page.getByRole('textbox', { name: 'Export' }).fill('/volume1/holdfast');
  await show('shares add');
  await page.getByRole('button', { name: 'Mount it' }).click();
  await page.getByRole('dialog').getByRole('alert').waitFor();
  await show('shares refused');
}

async function pictureCertificate(page: Page, at: Go, show: Show): Promise<void> {
  await at('/certificate');
  await show('certificate');
  await page.getByLabel('Names and addresses').fill('vault.example.org');
  await page.getByRole('button', { name: 'Make a request' }).click();
  await page.getByRole('button', { name: 'Download request' }).waitFor();
  await show('certificate request');
}

async function pictureUpdates(page: Page, machine: HostedMachine, at: Go, show: Show): Promise<void> {
  const unsigned = await machine.bundles.makeUnsigned();
  const good = await machine.bundles.make({ version: NEXT_VERSION });
  await at('/updates');
  await show('updates empty');
  await page.getByLabel('Update file').setInputFiles(unsigned);
  await page.getByRole('alert').getByText('This update is not signed').waitFor();
  await page.getByText('Fetch from an address').click();
  await page.getByText('Look on the disk').click();
  await show('updates refused');
  await page.getByLabel('Update file').setInputFiles(good);
  await page.getByRole('button', { name: `Install ${NEXT_VERSION}` }).waitFor();
  await show('updates here');
  await page.getByRole('button', { name: `Install ${NEXT_VERSION}` }).click();
  await page.getByRole('radio', { name: /When somebody says so/ }).check();
  await page.getByText('Without rehearsal and safety snapshot').click();
  await page.getByLabel('Reason').fill('There is no snapshot to rehearse on yet');
  await show('updates install');
  await page.getByRole('dialog').getByRole('button', { name: 'Install' }).click();
  await page.getByText('Waits for restart').waitFor();
  await show('updates ready');
  await page.getByRole('button', { name: 'Cancel the update' }).click();
  await page.getByRole('cell', { name: 'Cancelled', exact: true }).waitFor();
  await show('updates cancelled');
}

/** Set up by file without `kit.file`: the sealed kit waits in the appliance. */
export async function pictureSealedKit(browser: Browser, shoot: ShootAll): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-pictures-'));
  const appliance = await startAppliance();
  try {
    const { recipient } = await generateAgeIdentity();
    await writeFile(join(folder, 'password'), `${OWNER.password}\n`);
    const answers = {
      owner: { name: OWNER.name, email: OWNER.email, passwordFile: 'password' },
      appliance: {
        name: 'vault-berlin',
        stage: 'production',
        region: 'eu-central',
        allowedRegions: ['eu-central'],
      },
      kit: { recipient },
      target: { name: 'vault-eu', kind: 'directory', path: appliance.targetDir, region: 'eu-central' },
      firstSnapshot: false,
      firstRestoreTest: false,
    };
    await writeFile(join(folder, 'setup.yaml'), JSON.stringify(answers));
    const { dataDir } = appliance;
    const run = await runHoldfast(['setup', '--config', join(folder, 'setup.yaml')], { dataDir });
    if (run.exitCode !== 0) throw new Error(`the set-up by file failed:\n${run.stdout}${run.stderr}`);
    const { context, page } = await openPage(browser, appliance.url, LIGHT);
    await page.goto('/keys');
    await signIn(page, OWNER);
    await page.getByText('waits to be downloaded').waitFor();
    await shoot(page, 'keys with a sealed kit');
    await page.getByRole('button', { name: 'Remove it here' }).click();
    await page.getByRole('dialog').waitFor();
    await shoot(page, 'keys remove the sealed kit');
    await context.close();
  } finally {
    await appliance.stop();
    await rm(folder, { recursive: true, force: true });
  }
}
