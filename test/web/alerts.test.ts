/** Alerts in a real browser: seen, taken care of, given back, over; and who is told. */
import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { keepingSight } from './browser.ts';
import { OWNER } from './first-run.ts';
import { inDatabase } from './in-database.ts';
import { look, ownedAppliance } from './owned.ts';

const LIMIT_MS = 240_000;

const here = ownedAppliance('dark');

/** As if it had been found for an hour; one without an end stays only where the appliance finds it too. */
async function hasLasted(name: string, endedAt: Date | null): Promise<void> {
  await inDatabase(here.appliance, async (client) => {
    const before = new Date(Date.now() - 3_600_000);
    await client.query('delete from alerts where name = $1 and ended_at is null', [name]);
    await client.query(
      `insert into alerts (id, name, state, message, hint, first_seen_at, raised_at, ended_at)
       values ($1, $2, 'bad', 'It is not well', 'Do something about it', $3, $3, $4)`,
      [randomUUID(), name, before, endedAt],
    );
  });
}

it(
  'what needs somebody is taken care of, given back, and who is told is changed',
  { timeout: LIMIT_MS },
  async () => {
    const { page } = here.owner;
    await keepingSight(page, 'alerts', async () => {
      await page.goto('/alerts');
      await page
        .getByText('Nothing needs you')
        .or(page.getByText('No recovery kit is proven'))
        .first()
        .waitFor();
      await page.getByText('None yet').waitFor();
      await look(page, 'no alert');

      // A new appliance has no kit, so the appliance itself finds this one at its next look.
      await hasLasted('recovery kit', null);
      await hasLasted('target Vault', new Date());
      await page.reload();
      const alert = page.getByRole('region', { name: 'recovery kit' });
      await alert.waitFor();
      await page.getByRole('row', { name: /Target Vault/ }).waitFor();
      await page.getByRole('link', { name: /Alerts 1 to take care of/ }).waitFor();
      await look(page, 'alerts');

      await page.getByRole('button', { name: 'Take care of recovery kit' }).click();
      await page.getByLabel('No reminder for').selectOption('7 days');
      await page.getByLabel('Note').fill('The safe is opened on Thursday');
      await look(page, 'taking care of an alert');
      await page.getByRole('dialog').getByRole('button', { name: 'I take care of it' }).click();
      await alert.getByText(`${OWNER.name} takes care of it`).waitFor();
      await alert.getByText('The safe is opened on Thursday').waitFor();
      await page
        .getByRole('navigation', { name: 'Areas' })
        .getByRole('link', { name: 'Alerts', exact: true })
        .waitFor();
      await look(page, 'alert taken care of');

      await page.getByRole('button', { name: 'Remind of recovery kit again' }).click();
      await page.getByRole('button', { name: 'Take care of recovery kit' }).waitFor();

      await page.getByLabel('Hours between reminders').fill('0');
      await page.getByText('Hours between reminders: 1 to 168').waitFor();
      await page.getByLabel('Hours between reminders').fill('4');
      await page.getByLabel('What is told').selectOption('Problems and warnings');
      await page.getByRole('button', { name: 'Save', exact: true }).click();
      await page.getByText('Saved').waitFor();
      await page.reload();
      await page.getByLabel('Hours between reminders').waitFor();
      await expect.poll(() => page.getByLabel('Hours between reminders').inputValue()).toBe('4');
    });
    expect(here.owner.complaints).toEqual([]);
  },
);
