/** Webhooks and the heartbeat in a real browser: added, tried before a real receiver, looked at, paused, removed. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startHttpReceiver, type HttpReceiver } from '../helpers/http-receiver.ts';
import { keepingSight } from './browser.ts';
import { inDatabase } from './in-database.ts';
import { look, ownedAppliance } from './owned.ts';

const LIMIT_MS = 240_000;
const here = ownedAppliance('light', { HOLDFAST_OWN_MACHINE: 'allow' });
let receiver: HttpReceiver;
beforeAll(async () => {
  receiver = await startHttpReceiver();
});
afterAll(() => receiver.close());

it(
  'a webhook is added, its secret shown once, tried, renewed, paused and removed',
  { timeout: LIMIT_MS },
  async () => {
    const { page } = here.owner;
    await keepingSight(page, 'webhooks', async () => {
      await page.goto('/alerts');
      await page.getByRole('navigation', { name: 'Watch' }).getByRole('link', { name: 'Webhooks' }).click();
      await page.getByText('No webhook yet').waitFor();
      await look(page, 'no webhook');

      await page.getByRole('button', { name: 'Add a webhook' }).click();
      await page.getByLabel('Name').fill('On-call pager');
      await page.getByLabel('Address', { exact: true }).fill(`${receiver.url}/hooks/s3cret`);
      await page.getByRole('button', { name: 'Add', exact: true }).click();
      await page.getByText('everybody on the way can read').waitFor();
      await page.getByLabel(/Plain http is allowed/).check();
      await page.getByLabel('A snapshot is stored').check();
      await look(page, 'adding a webhook');
      await page.getByRole('button', { name: 'Add', exact: true }).click();
      await page.getByText(/^whsec_/).waitFor();
      await look(page, 'secret of a webhook');
      await page.getByRole('button', { name: 'I have it' }).click();
      await page.getByRole('link', { name: 'On-call pager' }).click();
      await page.getByText(`${receiver.url}/…`).waitFor();
      expect(await page.content()).not.toMatch(/s3cret|whsec_/);

      await page.getByRole('button', { name: 'Send a trial' }).click();
      await page.getByRole('row', { name: /Delivered.*A trial/ }).waitFor();
      expect(receiver.calls[0]).toMatchObject({ method: 'POST', path: '/hooks/s3cret' });
      receiver.behave({ status: 500 });
      await page.getByRole('button', { name: 'Send a trial' }).click();
      await page.getByRole('row', { name: /Trying again.*Answered 500/ }).waitFor();
      await look(page, 'log of a webhook');
      receiver.behave({ status: 200 });
      await page.getByRole('button', { name: 'Try now' }).click();
      await expect
        .poll(() => page.getByRole('row', { name: /Delivered.*A trial/ }).count(), { timeout: 20_000 })
        .toBe(2);

      await page.getByRole('button', { name: 'New secret' }).click();
      await page.getByText(/^whsec_/).waitFor();
      await page.getByRole('button', { name: 'I have it' }).click();
      await page.getByText('Signs too until').waitFor();
      await page.getByRole('button', { name: 'Pause' }).click();
      await page.getByRole('button', { name: 'Go on' }).waitFor();
      await page.getByRole('button', { name: 'Remove', exact: true }).click();
      await page.getByRole('dialog').getByRole('textbox').fill('On-call pager');
      await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
      await page.getByText('No webhook yet').waitFor();
    });
    expect(here.owner.complaints).toEqual([]);
  },
);

it('the heartbeat is set up, called, says why it fails, and is removed', { timeout: LIMIT_MS }, async () => {
  const { page } = here.owner;
  await keepingSight(page, 'heartbeat', async () => {
    await page.goto('/alerts/heartbeat');
    await page.getByText('An appliance that is dead sends no alert').waitFor();
    await look(page, 'no heartbeat');
    await page.getByLabel('Address', { exact: true }).fill(`${receiver.url}/ping/s3cret?status={status}`);
    await page.getByLabel(/Plain http is allowed/).check();
    await page.getByLabel('Minutes between calls').fill('61');
    await page.getByText('Minutes between calls: 1 to 60').waitFor();
    await page.getByLabel('Minutes between calls').fill('60');
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.getByText('Saved').waitFor();
    receiver.calls.length = 0;
    await page.getByRole('button', { name: 'Call now' }).click();
    await page.getByText(/Answered 200, \d+ ms/).waitFor();
    expect(receiver.calls.at(-1)?.path).toMatch(/^\/ping\/s3cret\?status=(up|down)$/);
    expect(await page.content()).not.toContain('s3cret');
    await look(page, 'heartbeat answered');

    receiver.behave({ status: 404 });
    await page.getByRole('button', { name: 'Call now' }).click();
    await page.getByText('Not answered').waitFor();
    await look(page, 'heartbeat not answered');
    await page.getByRole('button', { name: 'Remove the heartbeat' }).click();
    await page.getByRole('dialog').getByRole('textbox').fill('heartbeat');
    await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
    await page.getByText('An appliance that is dead sends no alert').waitFor();
  });
  expect(here.owner.complaints.filter((one) => !/404|409/.test(one))).toEqual([]);
});

it(
  'limits of runs and of sizes are changed, and room is shown with its history',
  { timeout: LIMIT_MS },
  async () => {
    const { page } = here.owner;
    await keepingSight(page, 'limits', async () => {
      await page.goto('/alerts/limits');
      const snapshots = page.getByLabel('Snapshot: minutes without progress');
      await snapshots.waitFor();
      await expect.poll(() => snapshots.inputValue()).toBe('30');
      await look(page, 'limits');
      await page.getByLabel('Snapshot: stopped beyond its limit').check();
      await page.getByText('What is stopped needs a limit').waitFor();
      await page.getByLabel('Snapshot: minutes that it may take').fill('600');
      await page.getByRole('button', { name: 'Save the limits of runs' }).click();
      await page.getByText('Saved').first().waitFor();
      await page.getByLabel('Unusual from a loss of').fill('20');
      await page.getByLabel('Unusual from a growth of').fill('');
      await page.getByRole('button', { name: 'Save the limits of sizes' }).click();
      await expect.poll(() => page.getByText('Saved').count(), { timeout: 20_000 }).toBeGreaterThan(0);
      await page.reload();
      await expect
        .poll(() => page.getByLabel('Snapshot: minutes that it may take').inputValue(), { timeout: 20_000 })
        .toBe('600');
      await expect.poll(() => page.getByLabel('Unusual from a loss of').inputValue()).toBe('20');
      await expect.poll(() => page.getByLabel('Unusual from a growth of').inputValue()).toBe('');

      const day = (days: number) => new Date(Date.now() - days * 86_400_000);
      await inDatabase(here.appliance, async (client) => {
        for (let days = 20; days > 0; days -= 1)
          await client.query(
            `insert into capacity_points (thing, at, used_bytes, free_bytes) values ('data-disk', $1, $2, 0)`,
            [day(days), (40 - days) * 2 ** 30],
          );
      });
      await page.getByRole('navigation', { name: 'Watch' }).getByRole('link', { name: 'Capacity' }).click();
      await page.getByRole('img', { name: /In use on data disk: .* in all/ }).waitFor();
      await page.getByText(/In about \d+ days?, if it grows|Not in sight/).waitFor();
      await look(page, 'capacity');
    });
    expect(here.owner.complaints.filter((one) => !/404|409/.test(one))).toEqual([]);
  },
);
