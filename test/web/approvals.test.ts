/** An act that waits for its time, in a real browser: asked for, shown to everybody, and taken back. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, it } from 'vitest';
import { callerOf, takeOwnership } from '../helpers/served-appliance.ts';
import { expectAccessible } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { OWNER } from './first-run.ts';
import { signIn } from './sign-in.ts';

const LIMIT_MS = 120_000;
const SIGHTS = process.env.HOLDFAST_TEST_SIGHTS;

let browser: Browser;
let appliance: Appliance;
beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
  const owner = { name: OWNER.name, email: OWNER.email, password: OWNER.password };
  const caller = callerOf(appliance.url);
  await takeOwnership({ ...caller, claimCode: appliance.claimCode }, owner);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
}, LIMIT_MS);

it(
  'a shorter time for the audit log is asked for, waits in sight of everybody, and is withdrawn',
  async () => {
    const { context, page } = await openPage(browser, appliance.url, { width: 1280, theme: 'light' });
    const look = async (name: string) => {
      if (SIGHTS !== undefined) await page.screenshot({ path: `${SIGHTS}/${name}.png`, fullPage: true });
    };
    await keepingSight(page, 'approvals', async () => {
      await page.goto('/approvals');
      await signIn(page, OWNER);
      await page.getByText('Nothing waits.').waitFor();
      await expectAccessible(page, 'no approvals');

      await page.goto('/audit');
      const proof = page.getByRole('region', { name: 'Proof' });
      await proof.getByRole('button', { name: 'Change' }).press('Enter');
      await page.getByLabel('Acts', { exact: true }).fill('400');
      await page.getByLabel('Why that long').fill('Less is known of people');
      await page.getByRole('button', { name: 'Save', exact: true }).press('Enter');
      await page.getByText('Nothing has changed yet: it runs by itself').waitFor();
      await proof.getByText('7 years').waitFor();

      await page.getByRole('link', { name: 'Open approvals' }).first().click();
      const request = page.getByRole('region', { name: 'Keep audit entries for a shorter time' });
      await request.getByText('removed for good').waitFor();
      await page.getByText('A dangerous act runs by itself').waitFor();
      await expectAccessible(page, 'approvals');
      await look('approvals-1280');
      await page.setViewportSize({ width: 375, height: 800 });
      await expectAccessible(page, 'approvals, small');
      await look('approvals-375');

      await request.getByRole('button', { name: 'Withdraw' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Withdraw it' }).click();
      await page.getByText('Nothing waits.').waitFor();
      await page.getByRole('table', { name: 'Past requests' }).getByText('Withdrawn').waitFor();
      await page.getByText('A dangerous act runs by itself').waitFor({ state: 'hidden' });
      await page.getByRole('button', { name: 'Details of Keep audit entries for a shorter time' }).click();
      const past = page.getByRole('dialog', { name: 'Keep audit entries for a shorter time' });
      await past.getByText('Less is known of people').waitFor();
      await past.getByText('Whoever asked').waitFor();
      await past.getByRole('link', { name: OWNER.name }).waitFor();
      await past.getByText(OWNER.email).waitFor();
      await expectAccessible(page, 'a past request, small');
      await look('approvals-past-375');
      await page.setViewportSize({ width: 1280, height: 800 });
      await expectAccessible(page, 'a past request');
      await look('approvals-past-1280');
      await past.getByRole('button', { name: 'Close' }).last().click();
    });
    await context.close();
  },
  LIMIT_MS,
);
