/**
 * What somebody does on the first day, whole and in the browser only: claim, bring a folder of a few thousand files, first snapshot,
 * proof with the kit, report.
 */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { extractText, getDocumentProxy } from 'unpdf';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { expectAccessible } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { addFirstTarget, claimWithKit, proveFirstSnapshot } from './first-run.ts';

const LIMIT_MS = 480_000;
/** Not how long it takes, but until it is given up on a machine that does much else. */
const UPLOAD_LIMIT_MS = 300_000;
/** From the first page to the report, on a machine that does nothing else; a busy one may take as much longer as it is busy. */
const WHOLE_WAY_MS = 90_000;
/** Parts of this project that every checkout has: some 3,000 files of all sizes, 11 MiB. */
const PACKAGES = ['kysely', 'typebox', 'svelte'];
const ODD_NAMES = [
  ' leading and trailing ',
  '-rf',
  'line\nbreak',
  'ünïcödé – 🎉.txt',
  'quote"\'`$(id)\\.txt',
  '..hidden..',
  '=cmd|calc',
  '\u202egnp.exe',
  `${'n'.repeat(251)}.txt`,
];

let browser: Browser;
let appliance: Appliance;
let scratch: string;
beforeAll(async () => {
  [browser, appliance, scratch] = await Promise.all([
    startBrowser(),
    startAppliance(),
    mkdtemp(join(tmpdir(), 'holdfast-tree-')),
  ]);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
  await rm(scratch, { recursive: true, force: true });
}, LIMIT_MS);

/** @returns the folder and how many files are in it. */
async function makeTree(): Promise<{ top: string; files: number }> {
  const top = join(scratch, 'first day');
  for (const name of PACKAGES) {
    const from = join(import.meta.dirname, '..', '..', 'node_modules', name);
    await cp(from, join(top, name), { recursive: true, dereference: true });
  }
  await mkdir(join(top, 'odd names', 'deep', 'er'), { recursive: true });
  for (const name of ODD_NAMES) await writeFile(join(top, 'odd names', 'deep', 'er', name), name);
  await writeFile(join(top, 'odd names', 'empty'), '');
  await writeFile(join(top, 'odd names', 'large.bin'), Buffer.alloc(3 * 1024 * 1024 + 1, 'large'));
  await utimes(join(top, 'odd names', 'empty'), 1_500_000_000, 1_500_000_000);
  const entries = await readdir(top, { recursive: true, withFileTypes: true });
  return { top, files: entries.filter((entry) => entry.isFile()).length };
}

async function uploadFolder(page: Page, top: string, files: number): Promise<void> {
  await page.goto('/files');
  await page.getByText('This folder is empty').waitFor();
  await page.getByLabel('Folder to upload').setInputFiles(top);
  const count = files.toLocaleString('en-GB');
  const title = page.getByRole('heading', { name: new RegExp(`^${count} files? uploaded$|not uploaded`) });
  await title.waitFor({ timeout: UPLOAD_LIMIT_MS });
  expect(await title.innerText()).toBe(`${count} files uploaded`);
  await expectAccessible(page, 'files after a folder was uploaded');
  expect(await page.getByText('left out').count()).toBe(0);
  await page.getByRole('button', { name: 'Close the uploads' }).click();
}

/** Names, a time and a content as they were on disk. */
async function lookAround(page: Page): Promise<void> {
  await page.getByRole('link', { name: 'first day' }).click();
  await page.getByRole('link', { name: 'odd names' }).click();
  await page
    .getByRole('row', { name: /empty/ })
    .locator('time[datetime="2017-07-14T02:40:00.000Z"]')
    .waitFor();
  await page.getByRole('link', { name: 'deep' }).click();
  await page.getByRole('link', { name: 'er', exact: true }).click();
  await page
    .locator('tbody tr')
    .nth(ODD_NAMES.length - 1)
    .waitFor();
  const shown = await page
    .locator('tbody .name button')
    .evaluateAll((found) => found.map((one) => (one as { textContent: string }).textContent.trim()));
  expect(shown.sort()).toEqual(ODD_NAMES.map((name) => name.trim()).sort());
  // Before the preview: axe waits half a minute for a frame in which no script may run.
  await expectAccessible(page, 'a folder of odd names');
  await page.getByRole('button', { name: 'ünïcödé – 🎉.txt', exact: true }).click();
  await page.frameLocator('iframe').locator('body').getByText('ünïcödé – 🎉.txt').waitFor();
}

it(
  'a new user brings a folder, takes the first snapshot, proves it with the kit and reads the report',
  { timeout: LIMIT_MS },
  async () => {
    const { top, files } = await makeTree();
    const { context, page, complaints } = await openPage(browser, appliance.url, {
      width: 1280,
      theme: 'light',
    });
    const startedAt = performance.now();
    const laps: string[] = [];
    let lapAt = startedAt;
    const lap = (what: string): void => {
      laps.push(`${what} ${((performance.now() - lapAt) / 1000).toFixed(1)} s`);
      lapAt = performance.now();
    };
    const look = (): Promise<void> => Promise.resolve();
    await keepingSight(page, 'new-user', async () => {
      const kit = await claimWithKit(page, appliance, look);
      await addFirstTarget(page, appliance, look);
      lap('claim, kit and target');
      await uploadFolder(page, top, files);
      lap(`upload of ${files} files`);
      await lookAround(page);
      lap('looking around');
      await page.goto('/setup');
      await proveFirstSnapshot(page, kit, look);
      lap('snapshot and restore test');
      await page.goto('/restore-tests');
      await page.locator('tbody a').first().click();
      await page.getByRole('heading', { name: 'Checks' }).waitFor();
      await page.getByText('KIT PROVEN').waitFor();
      await page.getByRole('link', { name: 'Report, signed JSON' }).waitFor();
      await expectAccessible(page, 'report');
      const download = page.waitForEvent('download');
      await page.getByRole('link', { name: 'Report, PDF' }).click();
      const pdf = await getDocumentProxy(new Uint8Array(await readFile(await (await download).path())));
      const { text } = await extractText(pdf, { mergePages: true });
      expect(text).toContain('Kit proven');
      expect(text.replaceAll(/\s+/g, ' ')).toContain('Sampled files decrypt with the keys');
      lap('report');
      expect(complaints).toEqual([]);
    });
    await context.close();

    const tookMs = performance.now() - startedAt;
    process.stdout.write(`A new user's first day took ${(tookMs / 1000).toFixed(1)} s: ${laps.join(', ')}\n`);
    const busy = Math.max(1, (loadavg()[0] ?? 1) / availableParallelism());
    expect(tookMs / busy).toBeLessThan(WHOLE_WAY_MS);
  },
);
