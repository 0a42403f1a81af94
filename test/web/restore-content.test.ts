/** A folder of a snapshot back in its workspace, in a real browser: beside the present one, and in its place. */
import { expect, it } from 'vitest';
import { addDirectoryTarget, expectStatus, finishRun } from '../helpers/served-appliance.ts';
import { expectAccessibleEverywhere } from './accessible.ts';
import { takeSights } from './browser.ts';
import { claimedAppliance, type Claimed } from './claimed.ts';

const LIMIT_MS = 240_000;

async function stockFolder({ call, appliance }: Claimed): Promise<void> {
  await addDirectoryTarget({ call }, appliance.targetDir);
  const { items } = await expectStatus(
    call<{ items: { rootFolderId: string }[] }>('GET', '/workspaces'),
    200,
  );
  const parentId = items[0]?.rootFolderId ?? '';
  const folder = await expectStatus(
    call<{ id: string }>('POST', '/folders', { parentId, name: 'Contracts' }),
    201,
  );
  const put = (name: string) =>
    expectStatus(call('PUT', `/folders/${folder.id}/files?name=${name}`, Buffer.from(name)), 201);
  await put('one.txt');
  await put('two.txt');
  await finishRun({ call }, call('POST', '/snapshots'));
  await put('added.txt');
}

const here = claimedAppliance(stockFolder);

it(
  'a folder comes back beside the present one, and in its place while that is kept',
  async () => {
    await here.asOwner('restore-content', '/snapshots', async (page) => {
      await page.getByRole('row').nth(1).getByRole('link').first().click();
      await page.getByRole('link', { name: 'Browse' }).first().click();
      await page.getByRole('button', { name: 'Restore everything' }).waitFor();
      await page.getByRole('button', { name: 'Restore Contracts' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByText('In place of the present one').waitFor();
      await expectAccessibleEverywhere(page, 'the choice of a place');
      await page.setViewportSize({ width: 1280, height: 900 });
      await takeSights(page, 'restore-choice');
      await dialog.getByRole('button', { name: 'Restore beside' }).click();
      await dialog.getByText('2 files in 1 folder').waitFor({ timeout: 60_000 });
      await takeSights(page, 'restore-done');
      await dialog.getByRole('button', { name: 'Close' }).first().click();

      await page.getByRole('link', { name: 'Contracts' }).click();
      await page.getByRole('button', { name: 'Restore this folder' }).click();
      await dialog.getByText('In place of the present one').click();
      await dialog.getByRole('button', { name: 'Restore in its place' }).click();
      await dialog.getByText('What was there before is kept beside it.').waitFor({ timeout: 60_000 });
      await dialog.getByRole('link', { name: 'Open it' }).click();
      await page.getByRole('button', { name: 'one.txt', exact: true }).waitFor();
      expect(await page.getByRole('button', { name: 'added.txt' }).count()).toBe(0);
      await page.goto('/files');
      await page.getByText(/Contracts \(until /).waitFor();
      await page.getByText(/Contracts \(of /).waitFor();
      await takeSights(page, 'restore-files');
    });
  },
  LIMIT_MS,
);
