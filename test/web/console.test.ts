/** The console after the first run: every page by axe in both themes and three widths, by keyboard, and when things go wrong. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectAccessible, expectAccessibleEverywhere } from './accessible.ts';
import type { Browser, Page } from 'playwright-core';
import {
  keepingSight,
  openPage,
  startAppliance,
  startBrowser,
  type Appliance,
  type OpenPage,
  type View,
} from './browser.ts';
import { addFirstTarget, claimWithKit, OWNER, proveFirstSnapshot } from './first-run.ts';
import { signIn } from './sign-in.ts';

const LIMIT_MS = 240_000;

let browser: Browser;
let appliance: Appliance;

beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
  const { context, page } = await openPage(browser, appliance.url, { width: 1280, theme: 'light' });
  await keepingSight(page, 'console', async () => {
    const kit = await claimWithKit(page, appliance, expectAccessible);
    await addFirstTarget(page, appliance, expectAccessible);
    await proveFirstSnapshot(page, kit, expectAccessible);
  });
  await context.close();
}, LIMIT_MS);

afterAll(async () => {
  await browser.close();
  await appliance.stop();
}, LIMIT_MS);

/** A page with somebody signed in, at an address. */
async function signedIn(view: View, path: string): Promise<OpenPage> {
  const opened = await openPage(browser, appliance.url, view);
  await opened.page.goto(path);
  await signIn(opened.page, OWNER);
  return opened;
}

async function settled(page: Page): Promise<void> {
  await page.getByRole('heading', { level: 1 }).waitFor();
  await page.getByText('Loading', { exact: true }).first().waitFor({ state: 'detached' });
}

it(
  'axe finds nothing on any page, and nothing sticks out sideways, wide and narrow, light and dark',
  { timeout: LIMIT_MS },
  async () => {
    const { context, page, complaints } = await openPage(browser, appliance.url, {
      width: 1920,
      theme: 'light',
    });
    await page.goto('/');
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await expectAccessibleEverywhere(page, 'sign-in');
    await signIn(page, OWNER);
    const paths = [
      '/',
      '/files',
      '/snapshots',
      '/restore-tests',
      '/restore-tests/new',
      '/restore-tests/new?pick=random',
      '/restore-tests/new?step=key&key=kit',
      '/restore-tests/new?step=ready',
      '/targets',
      '/targets/new',
      '/keys',
      '/keys/new-kit',
      '/audit',
      '/settings',
      '/settings/schedules',
      '/settings/appearance',
      '/security',
      '/no-such-page',
    ];
    for (const path of paths) {
      await page.goto(path);
      await settled(page);
      await expectAccessibleEverywhere(page, path);
    }
    for (const list of ['/snapshots', '/restore-tests', '/targets']) {
      await page.goto(list);
      await page.locator('tbody a').first().click();
      await page.getByRole('navigation', { name: 'Above this page' }).waitFor();
      await settled(page);
      await expectAccessibleEverywhere(page, `a page of ${list}`);
    }
    await page.goto('/snapshots');
    await page.locator('tbody a').first().click();
    await page.getByRole('link', { name: 'Browse the content' }).click();
    await page.getByRole('heading', { name: 'Content of snapshot 1' }).waitFor();
    await settled(page);
    await expectAccessibleEverywhere(page, 'content of a snapshot');
    expect(complaints).toEqual([]);
    await context.close();
  },
);

describe('files', () => {
  it(
    'a folder is made, a file is renamed, moved, found and deleted only after its name is typed',
    { timeout: LIMIT_MS },
    async () => {
      const { context, page } = await signedIn({ width: 1280, theme: 'light' }, '/files');
      await page.getByRole('button', { name: 'New folder' }).click();
      await page.getByRole('dialog').getByLabel('Name').fill('Contracts');
      await page.keyboard.press('Enter');
      await page.getByRole('link', { name: 'Contracts' }).waitFor();

      await page
        .getByLabel('Files to upload')
        .setInputFiles([{ name: 'draft.txt', mimeType: 'text/plain', buffer: Buffer.from('first') }]);
      await page.getByRole('button', { name: 'draft.txt', exact: true }).waitFor();
      await page.getByRole('button', { name: 'Actions for draft.txt' }).click();
      await page.getByRole('menuitem', { name: 'Rename' }).click();
      await page.getByLabel('New name').fill('lease.txt');
      await page.keyboard.press('Enter');
      await page.getByRole('button', { name: 'lease.txt', exact: true }).waitFor();

      await page.getByRole('button', { name: 'Actions for lease.txt' }).click();
      await page.getByRole('menuitem', { name: 'Move' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Contracts' }).click();
      await page.getByText('No folders in here.').waitFor();
      await page.getByRole('button', { name: 'Move here' }).click();
      await page.getByRole('button', { name: 'lease.txt', exact: true }).waitFor({ state: 'detached' });
      await page.getByRole('link', { name: 'Contracts' }).click();
      await page.getByLabel('Search items').fill('LEASE');
      await page.waitForURL(/search=LEASE/);
      await page.getByRole('button', { name: 'lease.txt', exact: true }).waitFor();

      await page.getByRole('button', { name: 'Actions for lease.txt' }).click();
      await page.getByRole('menuitem', { name: 'Delete' }).click();
      const remove = page.getByRole('dialog').getByRole('button', { name: 'Delete' });
      expect(await remove.getAttribute('aria-disabled')).toBe('true');
      await expectAccessible(page, 'delete dialog');
      await page.getByLabel('Type lease.txt to confirm').fill('lease.txt');
      await remove.click();
      await page.getByText('Nothing in this folder').waitFor();
      await context.close();
    },
  );

  it('a name that is taken is asked about, and both files are kept', { timeout: LIMIT_MS }, async () => {
    const { context, page } = await signedIn({ width: 1280, theme: 'light' }, '/files');
    const file = { name: 'twice.txt', mimeType: 'text/plain', buffer: Buffer.from('1') };
    await page.getByLabel('Files to upload').setInputFiles([file]);
    await page.getByRole('button', { name: 'twice.txt', exact: true }).waitFor();
    await page.getByLabel('Files to upload').setInputFiles([file]);
    await page.getByText('A file of this name is there already.').waitFor();
    await expectAccessible(page, 'upload conflict');
    await page.getByRole('button', { name: 'Keep both' }).click();
    await page.getByRole('heading', { name: '2 files uploaded' }).waitFor();
    await page.locator('tbody tr', { hasText: 'twice' }).nth(1).waitFor();
    expect(await page.locator('tbody tr', { hasText: 'twice' }).count()).toBe(2);
    await context.close();
  });

  it(
    'a folder that comes again leaves alone what is the same, and asks once about what changed',
    { timeout: LIMIT_MS },
    async () => {
      const { context, page } = await signedIn({ width: 375, theme: 'dark' }, '/files');
      const top = join(await mkdtemp(join(tmpdir(), 'holdfast-folder-')), 'twice over');
      await mkdir(join(top, 'below'), { recursive: true });
      for (const name of ['a.txt', 'b.txt', 'below/c.txt']) await writeFile(join(top, name), name);
      const upload = async (): Promise<void> => {
        await page.getByLabel('Folder to upload').setInputFiles(top);
      };
      await upload();
      await page.getByRole('heading', { name: '3 files uploaded' }).waitFor();
      await page.getByRole('button', { name: 'Close the uploads' }).click();

      await upload();
      await page.getByText('3 there already, the same').waitFor();
      await page.getByRole('button', { name: 'Close the uploads' }).click();

      await writeFile(join(top, 'a.txt'), 'changed');
      await writeFile(join(top, 'below', 'c.txt'), 'changed');
      await upload();
      await page.getByText('2 files met another one of the same name').waitFor();
      await expectAccessible(page, 'a folder that asks');
      await page.getByRole('button', { name: 'Skip' }).click();
      await page.getByText('2 items left out').click();
      await page.getByText('another file of this name is there').first().waitFor();
      await expectAccessible(page, 'what was left out');
      await page.getByRole('button', { name: 'Close the uploads' }).click();

      await upload();
      await page.getByRole('button', { name: 'Replace' }).click();
      await page.getByRole('heading', { name: '2 files uploaded' }).waitFor();
      await page.getByRole('link', { name: 'twice over' }).click();
      await page.getByRole('button', { name: 'a.txt', exact: true }).click();
      await page.frameLocator('iframe').locator('body').getByText('changed').waitFor();
      await rm(dirname(top), { recursive: true });
      await context.close();
    },
  );

  it('a folder can be dropped, with what is empty in it', { timeout: LIMIT_MS }, async () => {
    const { context, page, complaints } = await signedIn({ width: 1280, theme: 'light' }, '/files');
    const top = join(await mkdtemp(join(tmpdir(), 'holdfast-folder-')), 'dropped');
    await mkdir(join(top, 'empty'), { recursive: true });
    await writeFile(join(top, 'with \\ in it'), 'dropped');
    const area = page.getByRole('table', { name: 'Content of this folder' });
    const box = await area.boundingBox();
    const devtools = await context.newCDPSession(page);
    for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
      await devtools.send('Input.dispatchDragEvent', {
        type,
        x: (box?.x ?? 0) + 40,
        y: (box?.y ?? 0) + 20,
        data: { items: [], files: [top], dragOperationsMask: 1 },
      });
    }
    await page.getByRole('heading', { name: '1 file uploaded' }).waitFor();
    await page.getByRole('link', { name: 'dropped' }).click();
    await page.getByRole('link', { name: 'empty' }).waitFor();
    await page.getByRole('button', { name: 'with \\ in it', exact: true }).waitFor();
    expect(complaints).toEqual([]);
    await rm(dirname(top), { recursive: true });
    await context.close();
  });

  it('10,000 rows draw only what is in sight', { timeout: LIMIT_MS }, async () => {
    const { context, page } = await signedIn({ width: 1280, theme: 'light' }, '/keys');
    await page.route('**/api/v1/folders/*', async (route) => {
      const reply = await route.fetch();
      const real = (await reply.json()) as { folder: { id: string } };
      const items = Array.from({ length: 10_000 }, (_, index) => ({
        ...real.folder,
        id: `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`,
        parentId: real.folder.id,
        kind: 'file',
        name: `record-${String(index).padStart(5, '0')}.json`,
        sizeBytes: index,
      }));
      await route.fulfill({ json: { ...real, items, total: items.length, nextCursor: null } });
    });
    await page.goto('/files');
    await page.getByRole('button', { name: 'record-00000.json', exact: true }).waitFor();
    expect(await page.locator('tbody tr').count()).toBeLessThan(80);
    await page.getByRole('group', { name: 'Content of this folder' }).focus();
    await page.keyboard.press('End');
    await page.getByRole('button', { name: 'record-09999.json', exact: true }).waitFor();
    expect(await page.locator('tbody tr').count()).toBeLessThan(80);
    await context.close();
  });
});

describe('by keyboard', () => {
  it(
    'the palette opens with Ctrl-K, goes to a page, and focus is on its title',
    { timeout: LIMIT_MS },
    async () => {
      const { context, page } = await signedIn({ width: 1280, theme: 'light' }, '/');
      await settled(page);
      await page.keyboard.press('Control+k');
      await page.getByRole('combobox', { name: 'Command' }).waitFor();
      await expectAccessible(page, 'palette');
      await page.keyboard.type('restore tests');
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { level: 1, name: 'Restore tests' }).waitFor();
      await page.locator('h1:focus').waitFor();
      await context.close();
    },
  );

  it(
    'a dialog gives focus back to what opened it, and a menu to its button',
    { timeout: LIMIT_MS },
    async () => {
      const { context, page } = await signedIn({ width: 1280, theme: 'light' }, '/files');
      const opener = page.getByRole('button', { name: 'New folder' });
      await opener.focus();
      await page.keyboard.press('Enter');
      await page.getByRole('dialog').waitFor();
      await page.keyboard.press('Escape');
      await opener.and(page.locator(':focus')).waitFor();

      const person = page.getByRole('button', { name: `You: ${OWNER.name}` });
      await person.focus();
      await page.keyboard.press('ArrowDown');
      await page.getByRole('menuitem', { name: 'Sign out' }).waitFor();
      await expectAccessible(page, 'person menu');
      await page.keyboard.press('End');
      await page.keyboard.press('Escape');
      await person.and(page.locator(':focus')).waitFor();
      await context.close();
    },
  );

  it('on a small screen the areas are in a sheet', { timeout: LIMIT_MS }, async () => {
    const { context, page } = await signedIn({ width: 375, theme: 'dark' }, '/');
    await page.getByRole('button', { name: 'Open the navigation' }).click();
    await page.getByRole('dialog').getByRole('link', { name: 'Targets' }).waitFor();
    await expectAccessible(page, 'sheet');
    await page.getByRole('dialog').getByRole('link', { name: 'Targets' }).click();
    await page.getByRole('heading', { level: 1, name: 'Targets' }).waitFor();
    await context.close();
  });
});

describe('when things go wrong', () => {
  it(
    'a failure of the server is shown with its request id, and another try helps',
    { timeout: LIMIT_MS },
    async () => {
      const { context, page } = await signedIn({ width: 1280, theme: 'light' }, '/keys');
      let broken = true;
      await page.route('**/api/v1/targets', (route) =>
        broken
          ? route.fulfill({
              status: 500,
              json: {
                error: {
                  code: 'internal',
                  message: 'An unexpected error',
                  hint: 'Look at the log.',
                  requestId: 'req-77',
                },
              },
            })
          : route.continue(),
      );
      await page.goto('/targets');
      await page.getByRole('alert').getByText('An unexpected error').waitFor();
      await page.getByText('req-77').waitFor();
      await expectAccessible(page, 'error state');
      broken = false;
      await page.getByRole('button', { name: 'Try again' }).click();
      await page.getByRole('link', { name: 'vault-eu' }).waitFor();
      await context.close();
    },
  );

  it('without a network the page says so, and what was shown stays', { timeout: LIMIT_MS }, async () => {
    const { context, page } = await signedIn({ width: 1280, theme: 'light' }, '/targets');
    await page.getByRole('link', { name: 'vault-eu' }).click();
    await page.getByRole('heading', { level: 1, name: 'vault-eu' }).waitFor();
    await context.setOffline(true);
    await page.getByRole('button', { name: 'Try it now' }).click();
    await page.getByText('The appliance does not answer').waitFor();
    expect(await page.getByRole('heading', { name: 'Facts' }).isVisible()).toBe(true);
    await context.setOffline(false);
    await page.getByRole('button', { name: 'Try it now' }).click();
    await page.getByText('The appliance does not answer').waitFor({ state: 'detached' });
    await context.close();
  });

  it('a slow answer holds its place with a skeleton', { timeout: LIMIT_MS }, async () => {
    const { context, page } = await signedIn({ width: 1280, theme: 'light' }, '/keys');
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    await page.route('**/api/v1/overview', async (route) => {
      await held;
      await route.continue();
    });
    await page.goto('/');
    const title = page.getByRole('heading', { name: 'Are we safe?' });
    await title.waitFor();
    const before = await title.boundingBox();
    await expectAccessible(page, 'skeletons');
    release();
    await page.getByText('Newest snapshot', { exact: true }).waitFor();
    expect(await title.boundingBox()).toEqual(before);
    await context.close();
  });

  it('an ended session asks to sign in, and goes on at the same address', { timeout: LIMIT_MS }, async () => {
    const { context, page } = await signedIn({ width: 1280, theme: 'light' }, '/targets');
    await page.getByRole('link', { name: 'vault-eu' }).waitFor();
    await context.clearCookies();
    await page.getByRole('link', { name: 'Audit' }).click();
    await page.getByText('Your session has ended.').waitFor();
    await expectAccessible(page, 'sign-in after the end of a session');
    await signIn(page, OWNER);
    await page.getByRole('heading', { level: 1, name: 'Audit' }).waitFor();
    await page.locator('tbody tr').first().waitFor();
    await context.close();
  });

  it('a wrong password says nothing about whether the person exists', { timeout: LIMIT_MS }, async () => {
    const { context, page } = await openPage(browser, appliance.url, { width: 375, theme: 'dark' });
    await page.goto('/');
    await page.getByLabel('E-mail').fill(OWNER.email);
    await page.getByLabel('Password').fill('not the password');
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    const message = await page.getByRole('alert').innerText();
    expect(message).not.toContain(OWNER.email);
    await expectAccessible(page, 'refused sign-in');
    await context.close();
  });
});
