/** Sessions in a real browser: seeing and ending them, a fresh proof, and what is said when one was stolen. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { ADMIN_ROLE, socketAddress, withClient } from '../../server/lib/postgres/index.ts';
import { callerOf, expectStatus, takeOwnership } from '../helpers/served-appliance.ts';
import { expectAccessible } from './accessible.ts';
import { originOf, signInAs } from '../helpers/sign-in.ts';
import { signIn } from './sign-in.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { OWNER } from './first-run.ts';

const LIMIT_MS = 120_000;
const SIGHTS = process.env.HOLDFAST_TEST_SIGHTS;

let browser: Browser;
let appliance: Appliance;

beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
  const owner = { name: OWNER.name, email: OWNER.email, password: OWNER.password };
  const caller = callerOf(appliance.url);
  await takeOwnership({ ...caller, claimCode: appliance.claimCode }, owner);
  const settings = { name: 'Vault', stage: 'production', region: 'eu-north', allowedRegions: ['eu-north'] };
  await expectStatus(caller.call('PUT', '/settings/appliance', settings), 200);
}, LIMIT_MS);

afterAll(async () => {
  await browser.close();
  await appliance.stop();
}, LIMIT_MS);

async function onPage(
  name: string,
  path: string,
  flow: (page: Page) => Promise<void>,
  width = 1280,
): Promise<void> {
  const { context, page } = await openPage(browser, appliance.url, { width, theme: 'light' });
  await keepingSight(page, `sessions-${name}`, async () => {
    await page.goto(path);
    await enter(page);
    await flow(page);
  });
  await context.close();
}

async function enter(page: Page): Promise<void> {
  await signIn(page, OWNER);
  await page.getByRole('button', { name: `You: ${OWNER.name}` }).waitFor();
}

async function look(page: Page, name: string): Promise<void> {
  if (SIGHTS !== undefined) await page.screenshot({ path: `${SIGHTS}/${name}.png`, fullPage: true });
}

const inDatabase = (statement: string) =>
  withClient(
    socketAddress(dataPaths(appliance.dataDir).databaseSocket, ADMIN_ROLE, 'holdfast'),
    'test',
    (client) => client.query(statement),
  );

describe('the page of one’s sessions', () => {
  for (const width of [1280, 375]) {
    it(
      `at ${width} px shows each with its device, and ends one`,
      async () => {
        const other = callerOf(appliance.url);
        await signInAs(other.call, originOf(other.url), OWNER);
        await onPage(
          `list-${width}`,
          '/security/sessions',
          async (page) => {
            const table = page.getByRole('table', { name: 'Sessions' });
            await table.getByText('Chrome on Linux').first().waitFor();
            await table.getByText('This one').waitFor();
            await expectAccessible(page, 'sessions');
            await look(page, `sessions-${width}`);

            await page.getByRole('button', { name: 'End all others' }).click();
            await page.getByText(/sessions? ha(s|ve) ended/).waitFor();

            expect((await other.call('GET', '/session')).status).toBe(401);
            await expect.poll(() => table.getByRole('row').count()).toBe(2);
          },
          width,
        );
      },
      LIMIT_MS,
    );
  }
});

describe('a dangerous act', () => {
  it(
    'asks for the second factor again when the last proof is old, and goes on by itself',
    async () => {
      await onPage('proof', '/settings/sessions', async (page) => {
        await page.getByLabel('A proof counts for').fill('12');
        await inDatabase("update sessions set authenticated_at = now() - interval '1 hour'");
        await expectAccessible(page, 'settings of sessions');
        await look(page, 'session-settings-1280');
        await page.getByRole('button', { name: 'Save', exact: true }).click();
        const dialog = page.getByRole('dialog', { name: 'Is it still you?' });
        await dialog.waitFor();
        await expectAccessible(page, 'proof');
        await look(page, 'proof-1280');

        await dialog.getByRole('button', { name: 'Use a recovery code' }).click();
        await expectAccessible(page, 'proof by a code');
        await dialog.getByLabel('Recovery code').fill('not this one');
        await dialog.getByRole('button', { name: 'Confirm' }).click();
        await dialog.getByText('That is not right').waitFor();
        await dialog.getByRole('button', { name: 'Use a passkey' }).click();
        await dialog.getByRole('button', { name: 'Confirm' }).click();

        await page.getByText('Saved. Shorter limits hold').waitFor();
        const { rows } = await inDatabase('select proof_minutes from session_settings');
        expect(rows).toEqual([{ proof_minutes: 12 }]);
        await page.setViewportSize({ width: 375, height: 800 });
        await expectAccessible(page, 'settings of sessions, small');
        await look(page, 'session-settings-375');
      });
    },
    LIMIT_MS,
  );
});

describe('a session that is used from another browser too', () => {
  it(
    'ends; the sign-in page says why, and the person is asked afterwards whether it was them',
    async () => {
      await onPage('theft', '/security/sessions', async (page) => {
        const cookies = await page.context().cookies();
        const stolen = cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
        const { context, page: thief } = await openPage(browser, appliance.url, {
          ...{ width: 1280, theme: 'light' },
        });
        const reply = await thief.request.get(`${appliance.url}/api/v1/session`, {
          headers: { cookie: stolen, 'user-agent': 'curl/8.14.1' },
        });
        expect(reply.status()).toBe(401);
        await context.close();

        await page.reload();
        await page.getByText('this session was used from two different browsers').waitFor();
        await look(page, 'signed-out-1280');
        await enter(page);

        await page.getByRole('heading', { name: 'Was this you?' }).waitFor();
        await page.getByRole('link', { name: 'Look at your sessions' }).waitFor();
        await expectAccessible(page, 'sessions with an alert');
        await look(page, 'session-alert-1280');
        await page.setViewportSize({ width: 375, height: 800 });
        await look(page, 'session-alert-375');
        await page.getByRole('button', { name: 'All of it was me' }).click();
        await page.getByRole('heading', { name: 'Was this you?' }).waitFor({ state: 'detached' });
        await page.getByRole('link', { name: 'Look at your sessions' }).waitFor({ state: 'detached' });
      });
    },
    LIMIT_MS,
  );
});
