/** A claimed appliance in a real browser: its owner with a passkey, signed in. For what comes after the first run. */
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect } from 'vitest';
import { expectAccessible } from './accessible.ts';
import { openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { OWNER } from './first-run.ts';
import { addSecondFactor } from './sign-in.ts';

const LIMIT_MS = 240_000;
const SIGHTS = process.env.HOLDFAST_TEST_SIGHTS;

export interface Somebody {
  context: BrowserContext;
  page: Page;
  /** What the browser complained of. */
  complaints: string[];
}

export interface Owned {
  browser: Browser;
  appliance: Appliance;
  owner: Somebody;
  /** A request of a person by the browser's session. @returns what it answered, which must be a success. */
  ask<T>(who: Somebody, method: 'get' | 'post' | 'put', path: string, data?: object): Promise<T>;
  /** Invites somebody, who accepts in a browser of their own and is signed in there. */
  join(who: { name: string; email: string; password: string; role?: string }): Promise<Joined>;
}

export type Joined = Somebody & { id: string };

/** Started before the tests of a file, and ended after them; its parts are there when the first test runs. */
export function ownedAppliance(
  theme: 'light' | 'dark' = 'light',
  settings: Record<string, string> = {},
): Owned {
  const owned = {
    async ask<T>(who: Somebody, method: 'get' | 'post' | 'put', path: string, data?: object): Promise<T> {
      const headers = { 'x-holdfast': '1' };
      const url = `${owned.appliance.url}/api/v1${path}`;
      const reply = await who.context.request[method](url, { headers, ...(data && { data }) });
      expect(reply.ok(), `${path}: ${reply.status()}`).toBe(true);
      return (await reply.json()) as T;
    },
    async join({ name, email, password, role = 'member' }) {
      const invitation = { email, role, teamIds: [] };
      const { link } = await owned.ask<{ link: string }>(owned.owner, 'post', '/invitations', invitation);
      const one = await openPage(owned.browser, owned.appliance.url, { width: 1280, theme });
      const accepted = { token: link.split('#')[1], name, password };
      type Accepted = { user: { id: string } };
      const { user } = await owned.ask<Accepted>(one, 'post', '/invitations/accept', accepted);
      return { ...one, id: user.id };
    },
  } as Owned;
  beforeAll(async () => {
    [owned.browser, owned.appliance] = await Promise.all([startBrowser(), startAppliance(settings)]);
    const { browser, appliance } = owned;
    owned.owner = await openPage(browser, appliance.url, { width: 1280, theme });
    await owned.ask(owned.owner, 'post', '/setup/claim', { code: appliance.claimCode, owner: OWNER });
    await owned.owner.page.goto('/people');
    await addSecondFactor(owned.owner.page, OWNER.email);
  }, LIMIT_MS);
  afterAll(async () => {
    await owned.browser.close();
    await owned.appliance.stop();
  }, LIMIT_MS);
  return owned;
}

/** Wide and narrow: nothing sticks out, and axe finds nothing. */
export async function look(page: Page, where: string): Promise<void> {
  for (const width of [375, 1280]) {
    await page.setViewportSize({ width, height: 900 });
    await expectAccessible(page, `${where} at ${width}`);
    if (SIGHTS !== undefined)
      await page.screenshot({ path: `${SIGHTS}/${where.replaceAll(' ', '-')}-${width}.png`, fullPage: true });
  }
}
