/** The page of the API in a real browser: named, tried with a key, and without the session of whoever reads it. */
import { expect, it } from 'vitest';
import { expectStatus } from '../helpers/served-appliance.ts';
import { takeSights } from './browser.ts';
import { claimedAppliance } from './claimed.ts';

const LIMIT_MS = 240_000;
const here = claimedAppliance();

it(
  'a request is tried with a key, which is shown nowhere; without one the session of the reader does not count',
  async () => {
    const wish = { name: 'trial', workspaceId: null, rights: ['operations.read'], days: 1 };
    const { token } = await expectStatus(here.call<{ token: string }>('POST', '/api-keys', wish), 201);

    await here.asOwner('reference', '/', async (page) => {
      await page.getByText('Are we safe?').first().waitFor();
      await page.goto('/api/docs/');
      await page.getByRole('link', { name: 'Holdfast API' }).waitFor();
      expect(await page.title()).toBe('Holdfast API');
      // From here on: what the console asked for before is its own.
      const sent: Record<string, string>[] = [];
      page.on('request', (request) => {
        if (request.url().endsWith('/api/v1/overview'))
          void request.allHeaders().then((headers) => sent.push(headers));
      });
      await takeSights(page, 'reference');

      await page.locator('#operations-tag-appliance').click();
      const operation = page.locator('.opblock', { hasText: '/api/v1/overview' });
      await operation.getByText('Are we safe?').click();
      await operation.getByRole('button', { name: 'Try it out' }).click();
      const status = operation.locator('.live-responses-table .response-col_status').last();
      await operation.getByRole('button', { name: 'Execute' }).click();
      await status.getByText('401').waitFor();

      await page.locator('.scheme-container').getByRole('button', { name: 'Authorize' }).click();
      const dialog = page.locator('.modal-ux');
      await takeSights(page, 'reference-authorize');
      await dialog.locator('#auth-bearer-value').fill(token);
      await dialog.getByRole('button', { name: 'Apply credentials' }).click();
      await dialog.getByRole('button', { name: 'Close', exact: true }).click();
      await operation.getByRole('button', { name: 'Execute' }).click();
      await status.getByText('200').waitFor();
      await takeSights(page, 'reference-answer');

      expect(await page.locator('body').innerText()).not.toContain(token);
      await expect.poll(() => sent.length).toBe(2);
      const [refused, answered] = sent;
      expect(refused).not.toHaveProperty('cookie');
      expect(answered).toMatchObject({ authorization: `Bearer ${token}` });
      expect(answered).not.toHaveProperty('cookie');
    });
  },
  LIMIT_MS,
);
