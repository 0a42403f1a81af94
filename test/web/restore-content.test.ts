/** A folder of a snapshot back in its workspace, in a real browser: beside the present one, and in its place. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  addDirectoryTarget,
  callerOf,
  claimAppliance,
  expectStatus,
  finishRun,
  OWNER,
} from '../helpers/served-appliance.ts';
import { expectAccessibleEverywhere } from './accessible.ts';
import {
  keepingSight,
  openPage,
  startAppliance,
  startBrowser,
  takeSights,
  type Appliance,
} from './browser.ts';
import { signIn } from './sign-in.ts';

const LIMIT_MS = 240_000;

let browser: Browser;
let appliance: Appliance;

beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
}, LIMIT_MS);

it(
  'a folder comes back beside the present one, and in its place while that is kept',
  async () => {
    const served = { ...callerOf(appliance.url), claimCode: appliance.claimCode };
    const { call } = served;
    await claimAppliance(served);
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
    for (const name of ['one.txt', 'two.txt'])
      await expectStatus(call('PUT', `/folders/${folder.id}/files?name=${name}`, Buffer.from(name)), 201);
    await finishRun({ call }, call('POST', '/snapshots'));
    await expectStatus(call('PUT', `/folders/${folder.id}/files?name=added.txt`, Buffer.from('later')), 201);

    const { context, page, complaints } = await openPage(browser, appliance.url, {
      width: 1280,
      theme: 'light',
    });
    await keepingSight(page, 'restore-content', async () => {
      await page.goto('/snapshots');
      await signIn(page, OWNER);
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
      expect(complaints).toEqual([]);
    });
    await context.close();
  },
  LIMIT_MS,
);
