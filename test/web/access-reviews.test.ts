/** A review of access in a real browser: begun, decided by an owner and a manager, signed, exported. */
import { readFile } from 'node:fs/promises';
import { beforeAll, expect, it } from 'vitest';
import { keepingSight } from './browser.ts';
import { OWNER } from './first-run.ts';
import { look, ownedAppliance, type Somebody } from './owned.ts';

const LIMIT_MS = 300_000;
const GRACE = { name: 'Grace Hopper', email: 'grace@example.org', password: 'amber lantern walks 9' };
const ALAN = { name: 'Alan Turing', email: 'alan@example.org', password: 'violet orchard hums 4' };

const here = ownedAppliance();
let manager: Somebody;

beforeAll(async () => {
  manager = await here.join(GRACE);
  const alan = await here.join(ALAN);
  await alan.context.close();
  const workspace = await here.ask<{ id: string }>(here.owner, 'post', '/workspaces', {
    ...{ name: 'Surgery', managerId: await idOf(GRACE.name) },
  });
  await here.ask(here.owner, 'put', `/workspaces/${workspace.id}/people/${await idOf(ALAN.name)}`, {
    role: 'editor',
  });
}, LIMIT_MS);

async function idOf(name: string): Promise<string> {
  const { items } = await here.ask<{ items: { id: string; name: string }[] }>(here.owner, 'get', '/people');
  return items.find((person) => person.name === name)?.id ?? '';
}

it(
  'a review is begun, decided by an owner and a manager, signed, and exported',
  { timeout: LIMIT_MS },
  async () => {
    const { page } = here.owner;
    await keepingSight(page, 'access-review', async () => {
      await page.goto('/people/reviews');
      await page.getByText('No review yet').waitFor();
      await look(page, 'no review yet');
      await page.getByRole('button', { name: 'Begin a review' }).click();
      await page.getByLabel('Days to decide').last().waitFor();
      await look(page, 'beginning a review');
      await page.getByRole('dialog').getByRole('button', { name: 'Begin', exact: true }).click();
      await page.getByRole('heading', { name: 'Access review 1' }).waitFor();
      await page.getByRole('link', { name: ALAN.name }).first().waitFor();
      await look(page, 'review');
    });

    await keepingSight(manager.page, 'access-review-manager', async () => {
      const theirs = manager.page;
      await theirs.goto('/files');
      await theirs.getByRole('link', { name: 'Open access reviews' }).waitFor();
      await theirs.getByRole('link', { name: 'Access reviews', exact: true }).click();
      await theirs.getByRole('link', { name: 'Review 1' }).click();
      await theirs.getByText('Editor of Surgery').waitFor();
      expect(await theirs.getByText('Main').count()).toBe(0);
      await look(theirs, 'review of a manager');
      await theirs.getByRole('button', { name: `More about ${ALAN.name}, Editor of Surgery` }).click();
      await theirs.getByRole('radio', { name: /^Change/ }).check();
      await theirs.getByLabel('Change to').selectOption('Viewer');
      await theirs.getByLabel('Note').fill('Reads only, since March');
      await look(theirs, 'deciding');
      await theirs.getByRole('button', { name: 'Change it now' }).click();
      await theirs.getByText('Changed, Grace Hopper').waitFor();
    });

    await keepingSight(page, 'access-review-end', async () => {
      await page.goto('/people/reviews/');
      await page.getByRole('link', { name: 'Review 1' }).click();
      await page
        .getByText('Viewer')
        .first()
        .waitFor({ state: 'detached' })
        .catch(() => undefined);
      await page.getByRole('button', { name: `More about ${ALAN.name}, Member` }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByLabel('Note').fill('Left in May');
      await here.ask(here.owner, 'put', `/people/${await idOf(ALAN.name)}/role`, { role: 'auditor' });
      await dialog.getByRole('button', { name: 'Keep it' }).click();
      await dialog.getByText('It has changed since you looked').waitFor();
      await look(page, 'changed since it was looked at');
      await dialog.getByRole('button', { name: 'Try again' }).click();
      await dialog.getByText('Role: was Member, is now Auditor').waitFor();
      await dialog.getByText('It has changed since you looked').waitFor({ state: 'detached' });
      expect(await dialog.getByLabel('Note').inputValue()).toBe('Left in May');
      await dialog.getByRole('radio', { name: /^Take away/ }).check();
      await dialog.getByRole('button', { name: 'Take it away now' }).click();
      const shutting = page.getByRole('dialog', { name: `Deactivate ${ALAN.name}` });
      await shutting.getByLabel('Type').fill(ALAN.name);
      await look(page, 'shutting somebody out in a review');
      await shutting.getByRole('button', { name: 'Deactivate' }).click();
      await page.getByText(`Removed, ${OWNER.name}`).waitFor();
      await page.getByRole('button', { name: `More about ${ALAN.name}, Member` }).click();
      const entry = await dialog.locator('a[href*="entry="]').first().getAttribute('href');
      expect(entry).toMatch(/^\/audit\?entry=[0-9a-f-]{36}$/);
      await dialog.getByRole('button', { name: 'Close' }).last().click();
      await page.getByRole('button', { name: 'Removed or changed' }).click();
      await page.getByText('2 items').first().waitFor();
      await page.getByRole('button', { name: 'Removed or changed' }).click();
      const keep = page.getByRole('button', { name: /^Keep: / });
      await keep.nth(1).waitFor();
      const second = await keep.nth(1).getAttribute('aria-label');
      await keep.first().press('Enter');
      await page
        .getByRole('status')
        .getByText(/^Kept: /)
        .waitFor({ state: 'attached' });
      await expect.poll(() => page.locator(':focus').getAttribute('aria-label')).toBe(second);
      for (let left = await keep.count(); left > 0; left -= 1) {
        await keep.first().click();
        await expect.poll(() => keep.count(), { timeout: 20_000 }).toBe(left - 1);
      }
      await page.getByRole('button', { name: 'Sign', exact: true }).click();
      await page.getByLabel('What you confirm').waitFor();
      await look(page, 'signing');
      await page.getByRole('dialog').getByRole('button', { name: 'Sign', exact: true }).click();
      await page.getByText('Signed', { exact: true }).first().waitFor();
      await page.getByText('SHA-256 of the record').waitFor();
      await look(page, 'signed');

      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('link', { name: 'CSV' }).click(),
      ]);
      expect(download.suggestedFilename()).toBe('access-review-1.csv');
      const csv = await readFile(await download.path(), 'utf8');
      expect(csv).toContain('Reads only, since March');
      expect(csv).toContain('Deactivated');
      await page.goto('/people/reviews');
      await page.getByText('Signed', { exact: true }).first().waitFor();
      await look(page, 'history of reviews');

      await page.getByRole('button', { name: 'Begin a review' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Begin', exact: true }).click();
      await page.getByRole('heading', { name: 'Access review 2' }).waitFor();
      await page.getByRole('button', { name: /^Keep .* unchanged since the last review/ }).click();
      const asked = page.getByRole('dialog', { name: /^Keep .* unchanged/ });
      await asked.getByText('Accounts').waitFor();
      await look(page, 'keeping many');
      await asked.getByRole('button', { name: 'Look at them first' }).click();
      await page.getByText('as last time').first().waitFor();
      await page.getByRole('button', { name: /^Keep .* unchanged since the last review/ }).click();
      await asked.getByRole('button', { name: /^Keep/ }).click();
      await page.getByText(/items? kept/).waitFor();

      await page.getByRole('button', { name: 'Due date' }).click();
      await page.getByLabel('Due on').fill(new Date(Date.now() + 50 * 86_400_000).toISOString().slice(0, 10));
      await page.getByRole('dialog').getByRole('button', { name: 'Change it' }).click();
      await page.getByText('The due date is changed').waitFor();
      await page.getByRole('button', { name: 'Withdraw' }).click();
      const withdrawing = page.getByRole('dialog', { name: 'Withdraw access review 2' });
      await withdrawing.getByLabel('Reason').fill('Begun for a trial');
      await withdrawing.getByLabel('Type').fill('Review 2');
      await look(page, 'withdrawing');
      await withdrawing.getByRole('button', { name: 'Withdraw it' }).click();
      await page.getByText('Withdrawn', { exact: true }).first().waitFor();
      await page.getByText('Begun for a trial').waitFor();
      await page.getByRole('button', { name: 'Unchanged', pressed: true }).click();
      await page.getByText('6 items').first().waitFor();
      await look(page, 'withdrawn');
    });
    expect([...here.owner.complaints, ...manager.complaints]).toEqual([]);
  },
);

it('a decision on a later page leaves the pages that were asked for', { timeout: LIMIT_MS }, async () => {
  const { page } = here.owner;
  const userId = await idOf(GRACE.name);
  for (let number = 1; number <= 100; number += 1) {
    const team = await here.ask<{ id: string }>(here.owner, 'post', '/teams', { name: `Shift ${number}` });
    await here.ask(here.owner, 'put', `/teams/${team.id}/members/${userId}`, {});
  }
  await keepingSight(page, 'access-review-pages', async () => {
    await page.goto('/people/reviews');
    await page.getByRole('button', { name: 'Begin a review' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Begin', exact: true }).click();
    await page.getByRole('heading', { name: 'Access review 3' }).waitFor();
    await page.getByText('100 of 106 shown').waitFor();
    await page.getByRole('button', { name: 'Show more' }).click();
    const keep = page.getByRole('button', { name: /^Keep: / });
    await expect.poll(() => keep.count()).toBe(106);

    await keep.last().press('Enter');

    await page
      .getByRole('status')
      .getByText(/^Kept: .* 105 left for you/)
      .waitFor({ state: 'attached' });
    expect(await keep.count()).toBe(105);
    expect(await page.locator(':focus').getAttribute('aria-label')).toMatch(/^More about /);
  });
});
