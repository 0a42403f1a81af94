/** The first run as a person does it, used by the tests that need an appliance which has been through it. */
import { readFile } from 'node:fs/promises';
import type { Page } from 'playwright-core';
import type { Appliance } from './browser.ts';
import { addSecondFactor } from './sign-in.ts';

export const OWNER = {
  name: 'Ada Lindqvist',
  email: 'ada@example.org',
  password: 'gravel umbrella cello 41',
};

const LONG_MS = 120_000;

/** Called at every step, with a name for what the page shows. */
export type Look = (page: Page, where: string) => Promise<void>;

/**
 * From the claim code to a proven kit, with a look at every step.
 *
 * @param passphrase of the data volume, on the machine image.
 * @returns the text form of the kit.
 */
export async function claimWithKit(
  page: Page,
  appliance: Appliance,
  look: Look,
  passphrase?: string,
): Promise<string> {
  await page.goto('/');
  await page.getByRole('heading', { name: 'Take ownership of this appliance' }).waitFor();
  await page.waitForURL('**/setup/code');
  await look(page, 'claim code');
  await page.getByLabel('Claim code').fill('0000-0000-0000-0000');
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('alert').getByText('The claim code is wrong or has expired').waitFor();
  await look(page, 'refused claim code');
  await page.getByLabel('Claim code').fill(appliance.claimCode);
  await page.getByRole('button', { name: 'Continue' }).click();

  await page.getByRole('heading', { name: 'What is this machine to be?' }).waitFor();
  await look(page, 'new or recovered');
  await page.getByRole('button', { name: 'Continue' }).click();

  await page.getByRole('heading', { name: 'Who owns it?' }).waitFor();
  await page.getByLabel('Password', { exact: true }).fill('short');
  await page.getByLabel('Password again').click();
  await page.getByText('The password needs at least 8 characters').waitFor();
  await page.getByLabel('Name').fill(OWNER.name);
  await page.getByLabel('E-mail').fill(OWNER.email);
  await page.getByLabel('Password', { exact: true }).fill(OWNER.password);
  await page.getByLabel('Password again').fill(OWNER.password);
  await look(page, 'owner');
  await page.getByRole('button', { name: 'Take ownership' }).click();

  await page.getByRole('heading', { name: 'What else proves that it is you?' }).waitFor();
  await addSecondFactor(page, OWNER.email, look);

  await page.getByRole('heading', { name: 'What is it, and where does it stand?' }).waitFor();
  await page.getByLabel('Name').fill('vault-berlin');
  const region = page.getByLabel('Region', { exact: true });
  // A machine image knows where it stands.
  if (await region.isEditable()) await region.fill('eu-central');
  await look(page, 'appliance');
  await page.getByRole('button', { name: 'Continue' }).click();

  if (passphrase !== undefined) await chooseUnlocking(page, passphrase, look);
  await page.getByRole('heading', { name: 'Your recovery kit' }).waitFor();
  return makeKit(page, look);
}

async function chooseUnlocking(page: Page, passphrase: string, look: Look): Promise<void> {
  await page.getByRole('heading', { name: 'What opens its disk after a restart?' }).waitFor();
  await page.getByText('This machine has no TPM 2.0').waitFor();
  await page.getByLabel('Passphrase', { exact: true }).fill('too short');
  await page.getByLabel('Passphrase again').fill(passphrase);
  await page.getByText('It needs at least 12 characters').waitFor();
  await page.getByLabel('Passphrase', { exact: true }).fill(passphrase);
  await look(page, 'unlocking');
  await page.getByRole('button', { name: 'Continue' }).click();
}

async function makeKit(page: Page, look: Look): Promise<string> {
  await page.getByRole('button', { name: 'Make the kit' }).click();
  const onward = page.getByRole('button', { name: 'Continue' });
  await page.getByText('The kit is not proven yet').waitFor();
  await page.locator('button[aria-disabled=true]', { hasText: 'Continue' }).waitFor();
  await look(page, 'kit');

  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Download text' }).click(),
  ]);
  const kit = await readFile(await download.path(), 'utf8');
  const lines = kit.trimEnd().split('\n').slice(-2);
  await page.getByLabel('Or type the last two lines of the kit').fill(lines.join('\n').toLowerCase());
  await page.getByRole('button', { name: 'Prove with these lines' }).click();
  await page.getByText('opens what this appliance encrypted').waitFor({ timeout: LONG_MS });
  await look(page, 'proven kit');
  await onward.click();
  return kit;
}

/** Target and schedule. */
export async function addFirstTarget(page: Page, appliance: Appliance, look: Look): Promise<void> {
  await page.getByRole('heading', { name: 'Where do the backups go?' }).waitFor();
  await page.getByLabel('Name').fill('vault-eu');
  const folder = page.getByLabel('Folder on the appliance');
  await folder.fill(`${appliance.targetDir}-missing`);
  await page.getByRole('button', { name: 'Try it: write, read, list' }).click();
  await page.getByText('The trial found a problem').waitFor();
  await folder.fill(appliance.targetDir);
  await page.getByRole('button', { name: 'Try it: write, read, list' }).click();
  const add = page.getByRole('button', { name: 'Add the target' });
  await add.and(page.locator('[aria-disabled=false]')).waitFor();
  await look(page, 'target');
  await add.click();

  await page.getByRole('heading', { name: 'How often?' }).waitFor();
  await page.getByLabel('How often').first().waitFor();
  await look(page, 'schedule');
  await page.getByRole('button', { name: 'Continue' }).click();
  // Whoever leaves before has not kept it.
  await page.getByRole('heading', { name: 'The first snapshot' }).waitFor();
}

/** First snapshot and first restore test, opened with the kit in this browser. */
export async function proveFirstSnapshot(page: Page, kit: string, look: Look): Promise<void> {
  await page.getByRole('heading', { name: 'The first snapshot' }).waitFor();
  await page.getByRole('button', { name: 'Take the first snapshot' }).click();
  await page.getByRole('status').getByText('Done').waitFor({ timeout: LONG_MS });
  await look(page, 'first snapshot');
  await page.getByRole('button', { name: 'Continue' }).click();

  await page.getByRole('heading', { name: 'The first restore test' }).waitFor();
  await page.locator('input[type=file]').setInputFiles({
    name: 'kit.txt',
    mimeType: 'text/plain',
    buffer: Buffer.from(kit),
  });
  await page.getByText('KIT PROVEN').waitFor({ timeout: LONG_MS });
  await look(page, 'first restore test');
  await page.getByRole('button', { name: 'Continue' }).click();

  await page.getByRole('heading', { name: 'Where you stand' }).waitFor();
  await page.getByText('Protected now').waitFor();
  await look(page, 'summary');
}
