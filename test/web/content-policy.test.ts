/** The content security policy in a real browser: no page of ours breaks it, and it holds against what is planted. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { routes } from '../../web/routes.ts';
import { callerOf, claimAppliance, OWNER } from '../helpers/served-appliance.ts';
import { openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { signIn } from './sign-in.ts';

const LIMIT_MS = 240_000;
let browser: Browser;
let appliance: Appliance;

beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
}, LIMIT_MS);

async function settled(page: Page): Promise<void> {
  await page.getByRole('heading', { level: 1 }).first().waitFor();
  await page.waitForLoadState('networkidle');
}

it('no page breaks the policy, from the claim to the last', { timeout: LIMIT_MS }, async () => {
  const { context, page, complaints } = await openPage(browser, appliance.url, {
    width: 1280,
    theme: 'light',
  });
  await page.goto('/');
  await settled(page);
  await claimAppliance({ ...callerOf(appliance.url), claimCode: appliance.claimCode });
  await page.goto('/');
  await signIn(page, OWNER);
  const seen: string[] = [];
  for (const { pattern } of routes) {
    if (pattern.includes(':')) continue;
    await page.goto(pattern);
    await settled(page);
    seen.push(pattern);
  }
  await page.goto('/api/docs/static/index.html');
  await page.locator('.swagger-ui .opblock-tag').first().waitFor();

  expect(seen.length).toBeGreaterThan(15);
  expect(complaints).toEqual([]);
  await context.close();
});

it(
  'planted script, style and frames are refused, and the test would see it',
  { timeout: LIMIT_MS },
  async () => {
    const { context, page, complaints } = await openPage(browser, appliance.url, {
      width: 1280,
      theme: 'light',
    });
    await page.goto('/');
    await settled(page);

    await page.evaluate(`
    const holder = document.createElement('div');
    holder.innerHTML =
      '<img src="x" onerror="window.planted = 1"><b style="color: red">b</b>' +
      '<iframe srcdoc="<script>parent.planted = 1</' + 'script>"></iframe>';
    const script = document.createElement('script');
    script.textContent = 'window.planted = 1';
    document.body.append(holder, script);`);

    for (const part of ['script-src-attr', 'style-src-attr', 'script-src-elem'])
      await expect.poll(() => complaints.some((one) => one.includes(part))).toBe(true);
    expect(await page.evaluate(`'planted' in window`)).toBe(false);
    await context.close();
  },
);
