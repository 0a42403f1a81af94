/**
 * Makes the pictures of the README: a fresh appliance, taken through its first run in a browser. Into web/screenshots/. With `--all`
 * every page instead, whole, at two widths and in both themes, into .cache/screenshots/: to be looked at, not to be kept. With
 * `--machine` of those only the pages that the machine image has.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { openPage, startAppliance, startBrowser, type Appliance, type View } from '../test/web/browser.ts';
import { addFirstTarget, claimWithKit, OWNER, proveFirstSnapshot } from '../test/web/first-run.ts';
import { signIn } from '../test/web/sign-in.ts';
import { pictureMachine, pictureSealedKit } from './screenshots/machine.ts';
import { LIGHT, shootAllInto } from './screenshots/shoot.ts';

const MACHINE = process.argv.includes('--machine');
const ALL = MACHINE || process.argv.includes('--all');
const ROOT = join(import.meta.dirname, '..');
const OUT = ALL ? join(ROOT, '.cache', 'screenshots') : join(ROOT, 'web', 'screenshots');
const LONG_MS = 120_000;
const shootAll = shootAllInto(OUT);

async function shoot(page: Page, name: string): Promise<void> {
  await page.waitForTimeout(400);
  await page.screenshot({ path: join(OUT, `${name}.png`) });
}

async function firstRun(browser: Browser, appliance: Appliance): Promise<void> {
  const { context, page } = await openPage(browser, appliance.url, LIGHT);
  const pictured: Record<string, string> = {
    kit: 'recovery-kit',
    'first restore test': 'first-restore-test',
  };
  const look = async (at: Page, where: string): Promise<void> => {
    if (ALL) await shootAll(at, `setup ${where}`);
    const name = ALL ? undefined : pictured[where];
    if (name !== undefined) await shoot(at, name);
  };
  const kit = await claimWithKit(page, appliance, look);
  await addFirstTarget(page, appliance, look);
  await proveFirstSnapshot(page, kit, look);
  await upload(page);
  await proveAgain(page, 'quick');
  await uploadFolder(page);
  await proveAgain(page, 'full');
  await context.close();
}

/** What was uploaded, in another snapshot, and that one proven. */
async function proveAgain(page: Page, mode: 'quick' | 'full'): Promise<void> {
  await page.goto('/snapshots');
  await page.getByRole('button', { name: 'Take a snapshot' }).click();
  await page.getByRole('status').getByText('Done').waitFor({ timeout: LONG_MS });
  await page.goto(`/restore-tests/new?step=ready&mode=${mode}`);
  await page
    .getByRole('button', { name: 'Start the test' })
    .and(page.locator('[aria-disabled=false]'))
    .click();
  await page.getByText('DATA PROVEN').waitFor({ timeout: LONG_MS });
}

async function upload(page: Page): Promise<void> {
  await page.goto('/files');
  const names = [
    'Lease 2026.txt',
    'Minutes of March.txt',
    'Minutes of April.txt',
    'Insurance.txt',
    'Suppliers.csv',
  ];
  const files = names.map((name, index) => ({
    name,
    mimeType: 'text/plain',
    buffer: Buffer.from(`${name}\n\n${'The parties agree as follows.\n'.repeat(40 * (index + 1))}`),
  }));
  await page.getByLabel('Files to upload').setInputFiles(files);
  await page.getByRole('heading', { name: `${files.length} files uploaded` }).waitFor();
}

async function uploadFolder(page: Page): Promise<void> {
  const top = join(await mkdtemp(join(tmpdir(), 'holdfast-pictures-')), 'Site plans');
  for (const part of ['Harbour', 'Mill Street']) {
    await mkdir(join(top, part), { recursive: true });
    for (let sheet = 1; sheet <= 40; sheet += 1) {
      const content = randomBytes(4_000 + 500 * sheet);
      await writeFile(join(top, part, `Sheet ${String(sheet).padStart(2, '0')}.dat`), content);
    }
  }
  await page.goto('/files');
  await page.getByLabel('Folder to upload').setInputFiles(top);
  await page.getByRole('heading', { name: '80 files uploaded' }).waitFor();
  if (ALL) await shootAll(page, 'files uploaded');
  await page.getByLabel('Folder to upload').setInputFiles(top);
  await page.getByText('80 there already, the same').waitFor();
  await rm(join(top, '..'), { recursive: true });
}

async function tour(
  browser: Browser,
  appliance: Appliance,
  view: View,
  stops: [string, string][],
  after?: (page: Page) => Promise<void>,
): Promise<void> {
  const { context, page } = await openPage(browser, appliance.url, view);
  await page.goto('/');
  await signIn(page, OWNER);
  await page.getByText('Are we safe?').waitFor();
  for (const [path, name] of stops) {
    await page.goto(path);
    await page.getByRole('heading', { level: 1 }).waitFor();
    if (path === '/restore-tests' || path === '/files') {
      const first = path === '/files' ? page.locator('tbody .name button') : page.locator('tbody a');
      await first.first().click();
    }
    await page.waitForLoadState('networkidle').catch(() => undefined);
    if (ALL) await shootAll(page, name);
    else await shoot(page, name);
  }
  await after?.(page);
  await context.close();
}

/** Every page; of lists the first row too. */
const EVERYWHERE: [string, string][] = [
  ['/', 'overview'],
  ['/files', 'files'],
  ['/snapshots', 'snapshots'],
  ['/restore-tests/new', 'new test copy'],
  ['/restore-tests/new?pick=random', 'new test random'],
  ['/restore-tests/new?step=scope', 'new test scope'],
  ['/restore-tests/new?step=key&key=kit', 'new test key'],
  ['/restore-tests/new?step=check', 'new test checks'],
  ['/restore-tests/new?step=ready', 'new test ready'],
  ['/targets', 'targets'],
  ['/keys', 'keys'],
  ['/keys/new-kit', 'new kit'],
  ['/audit', 'audit'],
  ['/settings', 'settings'],
  ['/settings/schedules', 'schedules'],
  ['/settings/appearance', 'appearance'],
  ['/security', 'my security'],
  ['/no-such-page', 'no such page'],
];

/** The pages behind the first rows of the lists. */
async function tourOfRows(page: Page): Promise<void> {
  for (const [list, name] of [
    ['/snapshots', 'snapshot'],
    ['/restore-tests', 'restore test'],
    ['/targets', 'target'],
  ] as const) {
    await page.goto(list);
    await page.locator('tbody a').first().waitFor();
    if (name === 'restore test') await shootAll(page, 'restore tests');
    await page.locator('tbody a').first().click();
    await page.getByRole('navigation', { name: 'Above this page' }).waitFor();
    await page.waitForLoadState('networkidle').catch(() => undefined);
    await shootAll(page, name);
  }
  await page.goto('/snapshots');
  await page.locator('tbody a').first().click();
  await page.getByRole('link', { name: 'Browse the content' }).click();
  await page.locator('tbody tr').first().waitFor();
  await shootAll(page, 'snapshot content');
  await page.goto('/audit');
  await page.getByRole('button', { name: 'workspaces.files.uploaded' }).first().click();
  await shootAll(page, 'audit dialog');
}

await mkdir(OUT, { recursive: true });
const browser = await startBrowser();
try {
  if (ALL) await pictureMachine(browser, shootAll);
  if (ALL) await pictureSealedKit(browser, shootAll);
  if (!MACHINE) await pictureAppliance(browser);
} finally {
  await browser.close();
}

async function pictureAppliance(browser: Browser): Promise<void> {
  const elsewhere = await mkdtemp('/dev/shm/vault-eu-');
  const served = await startAppliance();
  // Another file system than the data's, as storage elsewhere would be.
  const appliance: Appliance = { ...served, targetDir: elsewhere };
  try {
    await firstRun(browser, appliance);
    if (ALL) await tour(browser, appliance, LIGHT, EVERYWHERE, tourOfRows);
    else await pictures(browser, appliance);
  } finally {
    await appliance.stop();
    await rm(elsewhere, { recursive: true, force: true });
  }
}

async function pictures(browser: Browser, appliance: Appliance): Promise<void> {
  await tour(browser, appliance, LIGHT, [
    ['/', 'overview'],
    ['/files', 'files'],
    ['/restore-tests', 'restore-test'],
  ]);
  await tour(browser, appliance, { width: 1280, theme: 'dark' }, [['/', 'overview-dark']]);
  await tour(browser, appliance, { width: 375, theme: 'light' }, [['/', 'overview-small']]);
}
