/** Somebody who has just joined, belongs to no workspace, and follows old addresses. */
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { expectAccessible } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { OWNER } from './first-run.ts';
import { addSecondFactor } from './sign-in.ts';

const LIMIT_MS = 240_000;
const SIGHTS = process.env.HOLDFAST_TEST_SIGHTS;
const NORA = { name: 'Nora Newman', email: 'nora@example.org', password: 'amber lantern walks 9' };
const headers = { 'x-holdfast': '1' };

let browser: Browser;
let appliance: Appliance;
let owner: { context: BrowserContext; page: Page; complaints: string[] };
let nora: { context: BrowserContext; page: Page; complaints: string[] };

beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
  owner = await openPage(browser, appliance.url, { width: 1280, theme: 'light' });
  await post(owner.context, '/setup/claim', { code: appliance.claimCode, owner: OWNER });
  await owner.page.goto('/people');
  await addSecondFactor(owner.page, OWNER.email);
  await owner.page.getByRole('link', { name: OWNER.name }).waitFor();
  const { link } = await post<{ link: string }>(owner.context, '/invitations', {
    ...{ email: NORA.email, role: 'member' },
  });
  nora = await openPage(browser, appliance.url, { width: 1280, theme: 'dark' });
  const { name, password } = NORA;
  await post(nora.context, '/invitations/accept', { token: link.split('#')[1], name, password });
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
}, LIMIT_MS);

async function post<T>(context: BrowserContext, path: string, data: object): Promise<T> {
  const reply = await context.request.post(`${appliance.url}/api/v1${path}`, { data, headers });
  expect(reply.ok(), await reply.text()).toBe(true);
  return (await reply.json()) as T;
}

/** Wide and narrow: nothing sticks out, and axe finds nothing. */
async function look(page: Page, where: string): Promise<void> {
  for (const width of [375, 1280]) {
    await page.setViewportSize({ width, height: 900 });
    await expectAccessible(page, `${where} at ${width}`);
    if (SIGHTS !== undefined)
      await page.screenshot({ path: `${SIGHTS}/${where.replaceAll(' ', '-')}-${width}.png`, fullPage: true });
  }
}

it('whoever belongs to no workspace is told so, and whom to ask', { timeout: LIMIT_MS }, async () => {
  const { page } = nora;
  await keepingSight(page, 'no workspace', async () => {
    await page.goto('/files');
    await page.getByText('You belong to no workspace yet').waitFor();
    await page.getByText('Ask an administrator').waitFor();
    expect(await page.getByText('Viewers cannot change this workspace').count()).toBe(0);
    expect(await page.getByRole('button', { name: 'Upload' }).count()).toBe(0);
    expect(await page.getByRole('link', { name: 'Go to workspaces' }).count()).toBe(0);
    await look(page, 'no workspace');

    const { items } = (await (
      await owner.context.request.get(`${appliance.url}/api/v1/workspaces`)
    ).json()) as { items: { id: string }[] };
    await owner.page.goto(`/workspaces/${items[0]?.id}`);
    await owner.page.getByRole('button', { name: 'Add', exact: true }).click();
    await owner.page.getByRole('radio', { name: new RegExp(NORA.name) }).check();
    await owner.page.getByRole('dialog').getByRole('button', { name: 'Add', exact: true }).click();
    await owner.page.getByRole('link', { name: NORA.name }).waitFor();
    await page.reload();
    await page.getByText('This folder is empty').waitFor();
  });
});

it('a member sees no tab that is closed to them', { timeout: LIMIT_MS }, async () => {
  const { page } = nora;
  await keepingSight(page, 'roles of a member', async () => {
    await page.goto('/people/roles');
    await page.getByRole('rowheader', { name: /Manage people/ }).waitFor();
    expect(await page.getByRole('navigation', { name: 'People' }).count()).toBe(0);

    await owner.page.goto('/people/roles');
    const tabs = owner.page.getByRole('navigation', { name: 'People' });
    await tabs.getByRole('link', { name: 'Invitations' }).waitFor();
  });
});

it('the first run shows its steps to the owner only', { timeout: LIMIT_MS }, async () => {
  const { page } = nora;
  await keepingSight(page, 'first run of a member', async () => {
    await page.goto('/setup');
    await page.getByText('The owner does the first run').waitFor();
    expect(await page.getByText(/^Step \d+ of/).count()).toBe(0);
    expect(await page.getByRole('navigation', { name: 'Steps of the first run' }).count()).toBe(0);
    await look(page, 'first run of a member');
  });
  expect([...owner.complaints, ...nora.complaints]).toEqual([]);
});
