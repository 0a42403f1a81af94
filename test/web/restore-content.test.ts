/** A folder of a snapshot back in its workspace, in a real browser: beside the present one, and in its place. */
import { expect, it } from 'vitest';
import { addDirectoryTarget, expectStatus, finishRun } from '../helpers/served-appliance.ts';
import { expectAccessibleEverywhere } from './accessible.ts';
import { keepingSight, openPage, takeSights } from './browser.ts';
import { claimedAppliance, type Claimed } from './claimed.ts';
import { inDatabase } from './in-database.ts';

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

/** Somebody who may see no work, as an editor, signed in in a browser of their own. */
async function joinAsEditor({ browser, appliance, call }: Claimed) {
  const { link } = await expectStatus(
    call<{ link: string }>('POST', '/invitations', { email: 'ed@example.org', role: 'member', teamIds: [] }),
    201,
  );
  const one = await openPage(browser, appliance.url, { width: 1280, theme: 'light' });
  const reply = await one.context.request.post('/api/v1/invitations/accept', {
    headers: { 'x-holdfast': '1' },
    data: { token: link.split('#')[1], name: 'Ed Itor', password: 'amber lantern walks 9' },
  });
  const { user } = (await reply.json()) as { user: { id: string } };
  const { items } = await expectStatus(call<{ items: { id: string }[] }>('GET', '/workspaces'), 200);
  await call('PUT', `/workspaces/${items[0]?.id ?? ''}/people/${user.id}`, { role: 'editor' });
  return one;
}

it(
  'an editor sees that their restore waits for another one, finds it again, and cancels it',
  async () => {
    const { context, page, complaints } = await joinAsEditor(here);
    // One that never ends.
    await inDatabase(here.appliance, (client) =>
      client.query(`insert into runs (id, kind, state, input, cause, created_at, started_at)
        values (gen_random_uuid(), 'restore-directory', 'running', '{}', 'console', now(), now())`),
    );
    const { items } = await expectStatus(here.call<{ items: { id: string }[] }>('GET', '/snapshots'), 200);
    await keepingSight(page, 'own-restore', async () => {
      await page.goto(`/snapshots/${items[0]?.id ?? ''}/content`);
      await page.getByRole('button', { name: 'Restore Contracts' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByRole('button', { name: 'Restore beside' }).click();
      await dialog.getByText('It begins when no other long restore or restore test is under way.').waitFor();
      await expectAccessibleEverywhere(page, 'a restore that waits');
      await page.setViewportSize({ width: 1280, height: 900 });
      await takeSights(page, 'restore-waits');
      await dialog.getByRole('button', { name: 'Close' }).first().click();

      // Closed, and the page left: it is found again where restores are asked for.
      await page.goto('/files');
      await page.getByRole('link', { name: 'Earlier states' }).click();
      await page.getByRole('heading', { name: 'What you asked to have back' }).waitFor();
      await expectAccessibleEverywhere(page, 'earlier states');
      await takeSights(page, 'earlier-states');
      await page.getByRole('button', { name: 'Follow the restore of Contracts' }).click();
      await dialog.getByRole('button', { name: 'Cancel' }).click();
      await dialog.getByText('Cancelled').first().waitFor();
      await dialog.getByRole('button', { name: 'Close' }).first().click();
      await page.getByRole('button', { name: 'Show the restore of Contracts' }).waitFor();
      await page.getByRole('table').getByRole('link').first().click();
      await page.getByRole('button', { name: 'Restore Contracts' }).waitFor();
      await page.getByRole('button', { name: 'Show the restore of Contracts' }).waitFor();
    });
    expect(complaints).toEqual([]);
    await context.close();
  },
  LIMIT_MS,
);
