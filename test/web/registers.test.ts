/** The registers in a real browser: entered, found, brought in from a file, seen by the person. */
import { expect, it } from 'vitest';
import { keepingSight } from './browser.ts';
import { OWNER } from './first-run.ts';
import { look, ownedAppliance } from './owned.ts';

const LIMIT_MS = 240_000;

const here = ownedAppliance();

it(
  'something is entered, found when it is overdue, brought in from a file, and seen by the person',
  { timeout: LIMIT_MS },
  async () => {
    const { page } = here.owner;
    await keepingSight(page, 'registers', async () => {
      await page.goto('/people');
      await page.getByRole('link', { name: 'Registers' }).click();
      await page.getByText('Nothing is entered yet').waitFor();
      await look(page, 'no entries');
      await page.getByRole('button', { name: 'Enter the first' }).click();
      await page.getByRole('radio', { name: new RegExp(OWNER.name) }).check();
      await page.getByLabel('What', { exact: true }).fill('Fire safety');
      await page.getByLabel('Done on').fill('2024-03-01');
      await page.getByLabel('Due, or valid until').fill('2025-03-01');
      await look(page, 'entering');
      await page.getByRole('dialog').getByRole('button', { name: 'Enter', exact: true }).click();
      await page.getByText('1 entry is overdue').waitFor();
      await look(page, 'entries');
      await page.getByRole('button', { name: 'Due soon' }).click();
      await page.getByText('Nothing fits').waitFor();
      await page.getByRole('link', { name: 'Show them' }).click();
      await page.getByRole('cell', { name: 'Fire safety', exact: true }).waitFor();

      await page.getByRole('button', { name: 'Import' }).click();
      const file = (text: string) => ({ name: 'staff.csv', mimeType: 'text/csv', buffer: Buffer.from(text) });
      const head = 'email,kind,what,done on,due on';
      await page
        .locator('input[type=file]')
        .setInputFiles(file(`${head}\n${OWNER.email},training,First aid,soon,\n`));
      await page.getByText('Line 2: "soon" is no day').waitFor();
      await look(page, 'a file with a problem');
      await page
        .locator('input[type=file]')
        .setInputFiles(file(`${head}\n${OWNER.email},training,First aid,2026-01-10,2099-01-10\n`));
      await page.getByText('1 new.').waitFor();
      await page.getByRole('dialog').getByRole('button', { name: 'Import', exact: true }).click();
      await page.getByText('1 entry brought in').waitFor();
      await page.getByRole('button', { name: 'Import' }).click();
      const again = `${head}\n${OWNER.email},training,First aid,2026-01-10,2099-01-10\n`;
      await page
        .locator('input[type=file]')
        .setInputFiles(file(`${again}${OWNER.email},training,Hygiene,2026-01-10,\n`));
      await page.getByText('1 new, 1 is there already and left out.').waitFor();
      await look(page, 'a file that was in before');
      await page.getByRole('dialog').getByRole('button', { name: 'Import', exact: true }).click();
      await page.getByText('1 entry brought in').last().waitFor();

      await page.goto('/people/registers?search=hygiene');
      await page.getByRole('button', { name: `Edit Hygiene of ${OWNER.name}` }).click();
      await page.getByRole('button', { name: 'Remove, it was a mistake' }).click();
      const asked = page.getByRole('dialog', { name: `Remove this entry of ${OWNER.name}?` });
      await asked.getByText('cannot be undone').waitFor();
      await look(page, 'removing an entry');
      await asked.getByLabel('Type').fill('Hygiene');
      await asked.getByRole('button', { name: 'Remove it' }).click();
      await page.getByRole('cell', { name: 'Hygiene', exact: true }).waitFor({ state: 'detached' });
      await page.goto('/people/registers?search=first');
      await page.getByRole('cell', { name: 'First aid', exact: true }).waitFor();

      await page.getByRole('button', { name: 'Reminders, and what is due' }).click();
      await page.getByRole('button', { name: 'Add one' }).click();
      await page.getByLabel('What', { exact: true }).fill('Undertaking of confidentiality');
      await look(page, 'newcomers');
      await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
      await page.getByText('Saved').waitFor();

      await page.goto('/security');
      await page.getByText('First aid').waitFor();
      await page.getByText('Overdue').waitFor();
      await look(page, 'own entries');
    });
    expect(here.owner.complaints).toEqual([]);
  },
);

it('an auditor reads an entry with its note, and can change nothing', { timeout: LIMIT_MS }, async () => {
  const { items } = await here.ask<{ items: { id: string }[] }>(here.owner, 'get', '/people');
  await here.ask(here.owner, 'post', '/registers', {
    ...{ userId: items[0]?.id, kind: 'background-check', what: 'Certificate of conduct' },
    ...{ doneOn: '2026-02-01', dueOn: null, reference: 'Safe 2', note: 'Seen, not kept' },
  });
  const auditor = await here.join({
    ...{ name: 'Katherine Johnson', email: 'auditor@example.org', role: 'auditor' },
    password: 'amber lantern walks 9',
  });
  const { page } = auditor;
  await keepingSight(page, 'registers-auditor', async () => {
    await page.goto('/people/registers?search=conduct');
    await page.getByRole('button', { name: 'Details of Certificate of conduct' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('Seen, not kept').waitFor();
    await dialog.getByText('Safe 2').waitFor();
    expect(await dialog.getByRole('textbox').count()).toBe(0);
    expect(await dialog.getByRole('button').allInnerTexts()).toEqual(['', 'Close']);
    await look(page, 'details of an entry');
  });
  expect(auditor.complaints).toEqual([]);
  await auditor.context.close();
});
