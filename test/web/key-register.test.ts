/** Keys in a real browser: who keeps a kit, who could open the backups on a day, a kit that is retired, re-keying, and write-only mode. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { proveTestKit, type TestCaller, type TestKit } from '../helpers/appliance.ts';
import { callerOf, claimAppliance, OWNER } from '../helpers/served-appliance.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { look } from './owned.ts';
import { addAdministrator, decideAsAdministrator } from './second-person.ts';
import { signIn } from './sign-in.ts';

const LIMIT_MS = 480_000;

let browser: Browser;
let appliance: Appliance;
let another: TestKit;

beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
  const served = { ...callerOf(appliance.url), claimCode: appliance.claimCode };
  await claimAppliance(served);
  await addAdministrator(served);
  another = await proveTestKit(served as unknown as TestCaller);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
}, LIMIT_MS);

it(
  'who keeps a kit is written down and found by the day; a kit is retired when another administrator agrees; write-only mode goes on and off',
  { timeout: LIMIT_MS },
  async () => {
    const { context, page, complaints } = await openPage(browser, appliance.url, {
      width: 1280,
      theme: 'light',
    });
    const short = another.id.slice(0, 8);
    const choose = async (item: string) => {
      await page.getByRole('button', { name: `Actions for kit ${short}` }).click();
      await page.getByRole('menuitem', { name: item }).click();
    };
    await keepingSight(page, 'key-register', async () => {
      await page.goto('/keys');
      await signIn(page, OWNER);
      await choose('Who keeps it');
      const keeping = page.getByRole('dialog', { name: `Who keeps kit ${short}` });
      await keeping.getByLabel('Who keeps it').fill('Grace Hopper');
      await keeping.getByLabel('Where it is kept').fill('Safe of the notary, drawer 4');
      await keeping.getByLabel('Handed over on').fill('2026-02-01');
      await keeping.getByLabel('Look after it by').fill('2026-03-01');
      await keeping.getByLabel('Record of the hand-over').fill('K-17');
      await look(page, 'writing down who keeps a kit');
      await keeping.getByRole('button', { name: 'Write it down' }).click();
      await page.getByRole('cell', { name: 'Grace Hopper' }).waitFor();
      await page.getByText('Overdue').waitFor();
      await look(page, 'kits with a keeper');
      await choose('Who keeps it');
      await keeping.getByText('handed over on 1 Feb 2026').waitFor();
      await look(page, 'who kept a kit');
      await keeping.getByRole('button', { name: 'Cancel' }).click();

      await page.goto('/');
      await page.getByText(`The review of recovery kit ${short} is overdue`).waitFor();
      const kits = page.getByRole('region', { name: 'Recovery kits' });
      await kits.getByRole('link', { name: '2 kits' }).waitFor();
      await look(page, 'overview with kits');
      await kits.getByRole('link', { name: '2 kits' }).click();

      await choose('Retire it');
      const asked = page.getByRole('dialog', { name: `Retire recovery kit ${short}?` });
      await asked.getByText('It does not lock its holder out').waitFor();
      await asked.getByLabel('Why').fill('The notary closes');
      await asked.getByLabel(`Type ${short} to confirm`).fill(short);
      await look(page, 'retiring a kit');
      await asked.getByRole('button', { name: 'Ask to retire it' }).click();
      await page.getByText('another administrator is asked to approve it').waitFor();
      await decideAsAdministrator(appliance.url);

      await page.getByRole('link', { name: 'Register', exact: true }).click();
      await page.getByRole('cell', { name: 'Still generation 1' }).waitFor();
      await look(page, 'register of keys');
      await page.goto('/keys');
      await page.getByText('still opens what is written now').waitFor();
      await look(page, 'keys before rekeying');
      await page.getByRole('button', { name: 'Re-key…' }).click();
      const rekeying = page.getByRole('dialog', { name: 'Re-key the repository?' });
      await rekeying.getByText('The next snapshot on each target is a first one').waitFor();
      await rekeying.getByLabel('Why').fill('The notary closes');
      await rekeying.getByLabel('Type generation 2 to confirm').fill('generation 2');
      await look(page, 'rekeying');
      await rekeying.getByRole('button', { name: 'Re-key' }).click();
      await page.getByText('Generation 2 of the keys is in use').waitFor();
      await page.getByText('still opens what is written now').waitFor({ state: 'detached' });
      await look(page, 'keys after rekeying');
      await page.getByRole('link', { name: 'Register', exact: true }).click();
      await page.getByText('Generation 2 of the keys since').waitFor();
      await page.getByLabel('On the day (UTC)').fill('2020-01-01');
      await page.getByText('No recovery kit by that day').waitFor();
      await look(page, 'register of a day before the first kit');
      await page.getByRole('button', { name: 'Today' }).click();
      await page.getByRole('cell', { name: 'Grace Hopper' }).waitFor();

      await page.goto('/keys');
      await page.getByRole('button', { name: 'Turn on…' }).click();
      const destroying = page.getByRole('dialog', { name: 'Turn write-only mode on?' });
      await destroying.getByText('one that is due waits for the kit').waitFor();
      await destroying.getByText('Only one kit is in use').waitFor();
      await destroying.getByLabel('Type write-only to confirm').fill('write-only');
      await destroying.getByLabel('Why').fill('The machine stands in an open office');
      await look(page, 'turning write-only on');
      await destroying.getByRole('button', { name: 'Destroy the keys here' }).click();
      await page.getByText('only a kit opens the backups').waitFor();
      await look(page, 'keys in write-only mode');
      await page.goto('/');
      await page.getByText('restore tests need the kit').waitFor();
      await look(page, 'overview in write-only mode');
      await page.goto('/keys/register');
      await page.getByText('when its key was destroyed: write-only').waitFor();
      await look(page, 'register in write-only mode');

      await page.goto('/keys');
      await page.getByRole('button', { name: 'Turn off…' }).click();
      const ending = page.getByRole('dialog', { name: 'Turn write-only mode off?' });
      await ending.getByText('What was written until now stays openable with kits only').waitFor();
      await ending.getByLabel('Why').fill('It stands in the vault now');
      await ending.getByLabel('Type generation 3 to confirm').fill('generation 3');
      await look(page, 'turning write-only off');
      await ending.getByRole('button', { name: 'Turn it off' }).click();
      await page.getByText('Openable with kits only').waitFor();
      await page.getByText('Generation 1, 2').waitFor();
      await look(page, 'keys after write-only mode');
      expect(complaints).toEqual([]);
    });
    await context.close();
  },
);
