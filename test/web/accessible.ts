/** What must be true of every page, whatever it shows. */
import { AxeBuilder } from '@axe-core/playwright';
import type { Page } from 'playwright-core';
import { expect } from 'vitest';

const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
/** What another theme can change. */
const RULES_OF_COLOUR = ['color-contrast', 'link-in-text-block'];

/** Asserts that axe finds nothing (WCAG 2.2 A and AA) and that nothing sticks out sideways. */
export async function expectAccessible(page: Page, where: string): Promise<void> {
  await expectNothing(page, new AxeBuilder({ page }).withTags(TAGS), where);
}

/** The same at two widths, in both themes. The page stays wide and light after. */
export async function expectAccessibleEverywhere(page: Page, where: string): Promise<void> {
  await look(page, { width: 375, theme: 'light' });
  await expectAccessible(page, `${where}, narrow`);
  await look(page, { width: 1280, theme: 'dark' });
  await expectNothing(page, new AxeBuilder({ page }).withRules(RULES_OF_COLOUR), `${where}, dark`);
  await look(page, { width: 1920, theme: 'light' });
  await expectAccessible(page, where);
}

async function look(page: Page, { width, theme }: { width: number; theme: 'light' | 'dark' }): Promise<void> {
  await page.setViewportSize({ width, height: 900 });
  await page.emulateMedia({ colorScheme: theme });
}

/** A colour on its way to another one has the contrast of neither. */
async function coloursAreThere(page: Page): Promise<void> {
  await page.evaluate(
    `Promise.all(document.getAnimations()
      .filter((one) => one instanceof CSSTransition)
      .map((one) => one.finished.catch(() => undefined)))
      .then(() => undefined)`,
  );
}

async function expectNothing(page: Page, axe: AxeBuilder, where: string): Promise<void> {
  await coloursAreThere(page);
  // From its top: scrolled, the bar there hides half of a button, which then seems too small.
  await page.evaluate('scrollTo(0, 0)');
  // All of a page is of one origin: what looks into frames of others opens a page of its own each time.
  const { violations } = await axe.setLegacyMode(true).analyze();
  const found = violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(' | ')}`);
  expect(found, `axe on ${where}`).toEqual([]);
  const beyond = await page.evaluate<number>(
    'document.documentElement.scrollWidth - document.documentElement.clientWidth',
  );
  expect(beyond, `pixels sideways on ${where}`).toBe(0);
}
