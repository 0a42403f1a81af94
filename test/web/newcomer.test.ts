/** Somebody who has just joined, belongs to no workspace, and follows old addresses. */
import { beforeAll, expect, it } from 'vitest';
import { keepingSight } from './browser.ts';
import { OWNER } from './first-run.ts';
import { look, ownedAppliance, type Somebody } from './owned.ts';

const LIMIT_MS = 240_000;
const NORA = { name: 'Nora Newman', email: 'nora@example.org', password: 'amber lantern walks 9' };

const here = ownedAppliance();
let owner: Somebody;
let nora: Somebody;

beforeAll(async () => {
  owner = here.owner;
  await owner.page.getByRole('link', { name: OWNER.name }).waitFor();
  nora = await here.join(NORA);
}, LIMIT_MS);

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

    const { items } = await here.ask<{ items: { id: string }[] }>(owner, 'get', '/workspaces');
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
