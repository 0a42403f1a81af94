/**
 * A claimed appliance with a proven kit in a real browser, stocked by requests before the tests of a file. For flows that begin where
 * backups are; what begins with people wants `owned.ts`.
 */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect } from 'vitest';
import { callerOf, claimAppliance, OWNER } from '../helpers/served-appliance.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { signIn } from './sign-in.ts';

const LIMIT_MS = 240_000;

export interface Claimed {
  browser: Browser;
  appliance: Appliance;
  /** A request of the owner, beside the browser. */
  call: ReturnType<typeof callerOf>['call'];
  /** The owner signs in at an address and walks a flow; the browser may complain of nothing in it. */
  asOwner(name: string, path: string, flow: (page: Page) => Promise<void>): Promise<void>;
}

/**
 * Its parts are there when the first test runs.
 *
 * @param stock what the tests find there
 * @param how to start it, once what the test itself prepares is there
 */
export function claimedAppliance(
  stock: (claimed: Claimed) => Promise<unknown> = () => Promise.resolve(),
  how: () => { settings?: Record<string, string>; within?: readonly string[] } = () => ({}),
): Claimed {
  const claimed = {
    async asOwner(name, path, flow) {
      const view = { width: 1280, theme: 'light' } as const;
      const { context, page, complaints } = await openPage(claimed.browser, claimed.appliance.url, view);
      await keepingSight(page, name, async () => {
        await page.goto(path);
        await signIn(page, OWNER);
        await flow(page);
      });
      expect(complaints).toEqual([]);
      await context.close();
    },
  } as Claimed;
  beforeAll(async () => {
    const { settings, within } = how();
    [claimed.browser, claimed.appliance] = await Promise.all([
      startBrowser(),
      startAppliance(settings, within),
    ]);
    const { url, claimCode } = claimed.appliance;
    const caller = callerOf(url);
    claimed.call = caller.call;
    await claimAppliance({ ...caller, claimCode });
    await stock(claimed);
  }, LIMIT_MS);
  afterAll(async () => {
    await claimed.browser.close();
    await claimed.appliance.stop();
  }, LIMIT_MS);
  return claimed;
}
