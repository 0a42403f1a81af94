/** People in a real browser: invited, accepted, given another role, shut out; and the pages around it. */
import { expect, it } from 'vitest';
import { keepingSight, openPage } from './browser.ts';
import { OWNER } from './first-run.ts';
import { addSecondFactor } from './sign-in.ts';
import { look, ownedAppliance } from './owned.ts';

const LIMIT_MS = 240_000;
const GRACE = { name: 'Grace Hopper', email: 'grace@example.org', password: 'amber lantern walks 9' };

const here = ownedAppliance();

it(
  'somebody is invited, accepts, gets another role, and is shut out at once',
  { timeout: LIMIT_MS },
  async () => {
    const { page } = here.owner;
    await keepingSight(page, 'people', async () => {
      await page.goto('/people');
      await page.getByRole('link', { name: OWNER.name }).waitFor();
      await page.getByText('There is only one owner').waitFor();
      await look(page, 'people');

      await page.getByRole('button', { name: 'Invite' }).click();
      await page.getByLabel('E-mail').fill(GRACE.email);
      await page.getByRole('radio', { name: /^Administrator/ }).check();
      await look(page, 'inviting');
      await page.getByRole('button', { name: 'Send the invitation' }).click();
      await page.getByText('No mail server is set up').waitFor();
      const link =
        /https:\S+\/invitation#[\w-]{43}/.exec(await page.getByRole('dialog').innerText())?.[0] ?? '';
      await look(page, 'invitation made');
      await page.getByRole('button', { name: 'Done' }).click();
      await page.getByRole('link', { name: 'Invitations' }).click();
      await page.getByText(GRACE.email).waitFor();
      await look(page, 'invitations');

      const invited = await openPage(here.browser, here.appliance.url, { width: 1280, theme: 'light' });
      await invited.page.goto(link);
      await invited.page.getByText(GRACE.email).waitFor();
      expect(invited.page.url()).not.toContain('#');
      await look(invited.page, 'accepting');
      await invited.page.getByLabel('Your name').fill(GRACE.name);
      await invited.page.getByLabel('Password', { exact: true }).fill(GRACE.password);
      await invited.page.getByLabel('Password again').fill(GRACE.password);
      await invited.page.getByRole('button', { name: 'Accept and sign in' }).click();
      await addSecondFactor(invited.page, GRACE.email);
      await invited.page.getByRole('button', { name: `You: ${GRACE.name}` }).waitFor();

      await page.goto('/people?search=grace');
      await page.getByRole('link', { name: GRACE.name }).click();
      await page.getByRole('heading', { name: GRACE.name }).waitFor();
      await look(page, 'person');
      await page.getByRole('button', { name: 'Change role' }).click();
      await page.getByRole('radio', { name: /^Member/ }).check();
      await page.getByRole('dialog').getByRole('button', { name: 'Change role' }).click();
      await page.getByText('Member', { exact: true }).waitFor();
      await invited.page.goto('/people');
      await invited.page.getByRole('heading', { name: 'Sign in' }).waitFor();

      await page.getByRole('button', { name: 'Deactivate' }).click();
      await page.getByRole('dialog').getByRole('textbox').fill(GRACE.name);
      await page.getByRole('dialog').getByRole('button', { name: 'Deactivate' }).click();
      await page.getByText('Deactivated', { exact: true }).waitFor();
      await invited.page.getByLabel('E-mail').fill(GRACE.email);
      await invited.page.getByLabel('Password').fill(GRACE.password);
      await invited.page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await invited.page.getByRole('alert').getByText('E-mail or password is wrong').waitFor();
      await invited.context.close();
      await page.getByRole('button', { name: 'Activate again' }).click();
      await page.getByText('They get back what they had').waitFor();
      await page.getByRole('dialog').getByRole('button', { name: 'Activate' }).click();
      await page.getByText('Active', { exact: true }).waitFor();

      // A member now, and an administrator until a moment ago.
      await removeFactorsOf(GRACE.name, 'Ask for it');
      await page.getByText('Nothing has changed yet').waitFor();
      await page.getByText('1 passkey, 10 recovery codes').waitFor();
      await page.goto('/approvals');
      await page.getByRole('button', { name: 'Withdraw' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Withdraw it' }).click();
      await page.getByText('Nothing waits.').waitFor();
    });
    expect(here.owner.complaints).toEqual([]);
  },
);

it(
  'a team is made and given a role in a workspace, and the table of roles says what each may do',
  { timeout: LIMIT_MS },
  async () => {
    const { page } = here.owner;
    await keepingSight(page, 'teams', async () => {
      await page.goto('/people/teams');
      await page.getByRole('button', { name: 'Create a team' }).click();
      await page.getByLabel('Name').fill('Surgery');
      await page.getByRole('dialog').getByRole('button', { name: 'Create' }).click();
      await page.getByRole('heading', { name: 'Surgery' }).waitFor();
      await page.getByRole('button', { name: 'Add a person' }).click();
      await page.getByRole('radio', { name: new RegExp(GRACE.name) }).check();
      await look(page, 'adding to a team');
      await page.getByRole('dialog').getByRole('button', { name: 'Add', exact: true }).click();
      await page.getByRole('link', { name: GRACE.name }).waitFor();
      await look(page, 'team');

      await page.goto('/people/workspaces');
      await page.getByRole('link', { name: 'Main' }).waitFor();
      await look(page, 'workspaces');
      await page.getByRole('link', { name: 'Main' }).click();
      await page.getByRole('button', { name: 'Add', exact: true }).click();
      await page.getByRole('radio', { name: 'A team' }).check();
      await page.getByLabel('Team', { exact: true }).selectOption('Surgery');
      await page.getByRole('radio', { name: /^Editor/ }).check();
      await look(page, 'adding to a workspace');
      await page.getByRole('dialog').getByRole('button', { name: 'Add', exact: true }).click();
      await page.getByRole('link', { name: 'Surgery' }).waitFor();
      expect(await page.getByLabel('Role of Surgery').inputValue()).toBe('editor');
      await look(page, 'workspace');

      await page.getByRole('button', { name: `Take ${OWNER.name} out` }).click();
      await page.getByText('Nobody would manage this workspace any more').waitFor();

      await page.goto('/people/roles');
      await page.getByRole('rowheader', { name: /Manage people/ }).waitFor();
      await look(page, 'roles');
    });
    // A refusal is said by the browser too.
    expect(here.owner.complaints.filter((one) => !one.includes('409'))).toEqual([]);
  },
);

it(
  'somebody who never was an administrator loses a lost second factor at once',
  { timeout: LIMIT_MS },
  async () => {
    const { page } = here.owner;
    const id = await joinWithPasskey('Alan Turing', 'alan@example.org');
    await keepingSight(page, 'lost factor', async () => {
      await page.goto(`/people/${id}`);
      await removeFactorsOf('Alan Turing', 'Remove them');
      await page.getByText('The second factors are removed').waitFor();
      await page.getByText('1 passkey, 10 recovery codes').waitFor({ state: 'detached' });
      await page.getByRole('button', { name: 'Remove second factors' }).waitFor({ state: 'detached' });
      await look(page, 'person without second factors');
    });
  },
);

it(
  'several people are chosen, one is taken out again, and their deactivation is asked for by name',
  { timeout: LIMIT_MS },
  async () => {
    const { page } = here.owner;
    await keepingSight(page, 'deactivating several', async () => {
      await page.goto('/people');
      await page.getByRole('button', { name: 'Deactivate several' }).click();
      const dialog = page.getByRole('dialog', { name: 'Deactivate several people' });
      await dialog.getByLabel('Find people').fill('grace');
      await dialog.getByRole('checkbox', { name: new RegExp(GRACE.name) }).check();
      await dialog.getByLabel('Find people').fill('');
      await dialog.getByRole('checkbox', { name: /Alan Turing/ }).check();
      await dialog.getByRole('checkbox', { name: new RegExp(`${OWNER.name}.*you`) }).check();
      await dialog.getByText('You are among them').waitFor();
      await look(page, 'deactivating several');

      await dialog.getByRole('button', { name: `Take ${OWNER.name} out` }).press('Enter');
      await dialog.getByText('You are among them').waitFor({ state: 'detached' });
      expect(await page.locator(':focus').getAttribute('aria-label')).toBe('Take Alan Turing out');
      await dialog.getByLabel('Reason').fill('Their contracts ended');
      await dialog.getByRole('button', { name: 'Ask for it' }).click();
      await page.getByText('Nothing has changed yet').waitFor();

      await page.goto('/approvals');
      const request = page.getByRole('region', { name: 'Deactivate several people' });
      await request.getByRole('link', { name: 'Alan Turing' }).waitFor();
      await request.getByText(GRACE.email).waitFor();
      await look(page, 'asked to deactivate several');
      await request.getByRole('button', { name: 'Withdraw' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Withdraw it' }).click();
      await page.getByText('Nothing waits.').waitFor();
    });
    expect(here.owner.complaints.filter((one) => !one.includes('409'))).toEqual([]);
  },
);

it(
  'the third person within an hour is not shut out yet, and the page says so',
  { timeout: LIMIT_MS },
  async () => {
    const { page } = here.owner;
    const people: { id: string; name: string }[] = [];
    for (const name of ['Edith Clarke', 'Mary Jackson', 'Joan Clarke']) {
      const email = `${name.replace(' ', '.').toLowerCase()}@example.org`;
      const { id, context } = await here.join({ name, email, password: GRACE.password });
      people.push({ id, name });
      await context.close();
    }
    const [first, second, third] = people;
    for (const one of [first, second])
      await here.ask(here.owner, 'post', `/people/${one?.id}/deactivate`, {});

    await page.goto(`/people/${third?.id}`);
    await page.getByRole('button', { name: 'Deactivate' }).click();
    await page
      .getByRole('dialog')
      .getByRole('textbox')
      .fill(third?.name ?? '');
    await page.getByRole('dialog').getByRole('button', { name: 'Deactivate' }).click();

    await page.getByText(/^Nothing has changed yet/).waitFor();
    await page.getByText('Active', { exact: true }).waitFor();
    expect(await page.getByText('Deactivated', { exact: true }).count()).toBe(0);
  },
);

/** Fills in the dialog of the person whose page is open. */
async function removeFactorsOf(name: string, act: string): Promise<void> {
  const { page } = here.owner;
  await page.getByText('1 passkey, 10 recovery codes').waitFor();
  await page.getByRole('button', { name: 'Remove second factors' }).click();
  await page.getByRole('dialog').getByLabel('Type').fill(name);
  const confirm = page.getByRole('dialog').getByRole('button', { name: act });
  expect(await confirm.getAttribute('aria-disabled')).toBe('true');
  await page.getByLabel('Reason').fill('The phone fell into the sea');
  await look(page, `removing second factors, ${act.toLowerCase()}`);
  await confirm.click();
}

/** A member with a passkey, which members must have from here on. @returns the id. */
async function joinWithPasskey(name: string, email: string): Promise<string> {
  const settings = await here.ask<object>(here.owner, 'get', '/settings/sessions');
  const required = { ...settings, membersNeedSecondFactor: true };
  await here.ask(here.owner, 'put', '/settings/sessions', required);
  const one = await here.join({ name, email, password: 'violet orchard hums 4' });
  await one.page.goto('/');
  await addSecondFactor(one.page, email);
  await one.context.close();
  return one.id;
}
