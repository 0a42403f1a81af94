/** A picture of what a page shows, in every view. */
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import type { View } from '../../test/web/browser.ts';

export const LIGHT: View = { width: 1280, theme: 'light' };

/** Of the page as it stands, whole, at two widths and in both themes; then as it was. */
export type ShootAll = (page: Page, name: string) => Promise<void>;

/** @param folder that takes `<name>-<width>-<theme>.png`. */
export const shootAllInto =
  (folder: string): ShootAll =>
  async (page, name) => {
    for (const width of [1280, 375]) {
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.setViewportSize({ width, height: width < 500 ? 800 : 900 });
        await page.emulateMedia({ colorScheme });
        await page.evaluate('scrollTo(0, 0)');
        await page.waitForTimeout(150);
        await page.screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`), fullPage: true });
      }
    }
    await page.setViewportSize({ width: LIGHT.width, height: 900 });
    await page.emulateMedia({ colorScheme: LIGHT.theme });
  };
