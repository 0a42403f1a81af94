/** The page Requests in a real browser: from an error that was shown to the request, to its audit entry, and back. */
import { expect, it } from 'vitest';
import { OWNER } from '../helpers/served-appliance.ts';
import { expectAccessible } from './accessible.ts';
import { signIn } from './sign-in.ts';
import { keepingSight, openPage } from './browser.ts';
import { claimedAppliance } from './claimed.ts';

const LIMIT_MS = 240_000;
const here = claimedAppliance();

it.each([375, 1280])(
  'a request is found by its id, leads to its audit entry and back, at %i px',
  { timeout: LIMIT_MS },
  async (width) => {
    const { context, page, complaints } = await openPage(here.browser, here.appliance.url, {
      width,
      theme: 'light',
    });
    await keepingSight(page, `requests-${width}`, async () => {
      await page.goto('/requests');
      await page.getByLabel('E-mail').fill(OWNER.email);
      await page.getByLabel('Password').fill('not the right words');
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await page.getByRole('alert').getByText('E-mail or password is wrong').waitFor();
      await signIn(page, OWNER);
      await page.getByRole('heading', { name: 'Requests' }).waitFor();
      await page.getByText('Kept for 30 days, up to 512 MiB').waitFor();

      await page.getByRole('button', { name: 'Refused' }).click();
      const refused = page.getByRole('row').filter({ hasText: 'POST /api/v1/session' }).first();
      await refused.getByText('401').waitFor();
      await expectAccessible(page, 'requests');
      if (width === 1280) {
        await refused.getByRole('link', { name: 'Audit' }).click();
        await page.getByRole('button', { name: 'identity.sign-in.refused' }).click();
        await page.getByRole('dialog').getByRole('link', { name: 'Show it' }).click();
        await page.getByRole('heading', { name: 'Requests' }).waitFor();
        await expect.poll(() => page.locator('tbody tr').count()).toBe(1);

        await page.getByRole('button', { name: 'Change' }).click();
        await page.getByLabel('Days').fill('7');
        await page.getByRole('button', { name: 'Save' }).click();
        await page.getByText('Kept for 7 days').waitFor();
        await page.getByRole('button', { name: 'Clear filters' }).click();
        await page.getByText('PUT /api/v1/requests/settings').first().waitFor();
      }
    });
    expect(complaints).toEqual([]);
    await context.close();
  },
);
