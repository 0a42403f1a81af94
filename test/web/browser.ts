/** A real browser before a real appliance: `holdfast serve` on a free port, and Chromium from its npm package. */
import { spawn, type ChildProcess } from 'node:child_process';
import { appendFileSync, mkdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import sparticuz from '@sparticuz/chromium';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import { applicationFolder } from '../helpers/joined-application.ts';
import { quickTmpdir } from '../helpers/memory-folder.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const START_LIMIT_MS = 60_000;
/** Beside the pictures of failed flows: what the appliances of this run said. */
const SIGHTS = join(ROOT, '.cache', 'web');

export interface Appliance {
  url: string;
  claimCode: string;
  dataDir: string;
  /** An empty folder beside the data, for targets. */
  targetDir: string;
  /** Stops and starts it again on the same data and port. */
  restart(): Promise<void>;
  /** Stops it until `resume`. */
  pause(): Promise<void>;
  /** Starts it again. @returns its claim code, where it has no owner. */
  resume(): Promise<string>;
  stop(): Promise<void>;
}

interface Served {
  child: ChildProcess;
  url: string;
  claimCode: string;
}

/**
 * Starts `holdfast serve` on an empty data folder.
 *
 * @param settings more of the environment, such as the socket of a hostd
 * @param within a program that starts it, with its arguments, such as one that sees a disk of its own
 */
export async function startAppliance(
  settings: Record<string, string> = {},
  within: readonly string[] = [],
): Promise<Appliance> {
  const folder = await mkdtemp(join(quickTmpdir(), 'holdfast-web-'));
  const dataDir = settings.HOLDFAST_DATA ?? join(folder, 'data');
  await mkdir(join(folder, 'target'));
  let served = await serve(dataDir, 0, settings, within);
  const { url, claimCode } = served;
  return {
    url,
    claimCode,
    dataDir,
    targetDir: join(folder, 'target'),
    async restart() {
      await end(served.child);
      served = await serve(dataDir, Number(new URL(url).port), settings, within);
    },
    pause: () => end(served.child),
    async resume() {
      served = await serve(dataDir, Number(new URL(url).port), settings, within);
      return served.claimCode;
    },
    async stop() {
      await end(served.child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function serve(
  dataDir: string,
  port: number,
  settings: Record<string, string>,
  within: readonly string[],
): Promise<Served> {
  mkdirSync(SIGHTS, { recursive: true });
  const [program, ...before] = [...within, process.execPath];
  const child = spawn(
    program,
    [...before, join(applicationFolder(), 'server', 'cli', 'holdfast.ts'), 'serve'],
    {
      cwd: ROOT,
      env: {
        PATH: process.env.PATH,
        HOLDFAST_DATA: dataDir,
        HOLDFAST_HOST: '127.0.0.1',
        HOLDFAST_PORT: String(port),
        HOLDFAST_LOG: 'error',
        ...settings,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let output = '';
  const ready = new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`holdfast serve is not ready after ${START_LIMIT_MS / 1000} s:\n${output}`));
    }, START_LIMIT_MS);
    const onData = (data: Buffer): void => {
      output += data.toString('utf8');
      appendFileSync(join(SIGHTS, 'serve.log'), data);
      // The claim code, or the end of the notice, comes a moment after the address.
      // By its name: passkeys belong to one, never to an address of numbers.
      const url = /Holdfast is ready: (https:\S+)/.exec(output)?.[1]?.replace('127.0.0.1', 'localhost');
      if (url === undefined || !/Claim code: \S+\n|Certificate, SHA-256: \S+\n/.test(output)) return;
      clearTimeout(timer);
      setTimeout(() => {
        resolve(url);
      }, 200);
    };
    child.stdout.on('data', onData);
    child.stderr.on('data', onData);
    child.once('exit', (code) => {
      clearTimeout(timer);
      reject(new Error(`holdfast serve ended with ${String(code)}:\n${output}`));
    });
  });
  const url = await ready;
  return { child, url, claimCode: /Claim code: (\S+)/.exec(output)?.[1] ?? '' };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await gone;
}

function inheritedEnvironment(): Record<string, string> {
  return Object.fromEntries(Object.entries(process.env).flatMap(([name, value = '']) => [[name, value]]));
}

/** Starts Chromium. */
export async function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: await sparticuz.executablePath(),
    // Where nothing says how names are written, Chromium finds no file whose name is not ASCII.
    env: { ...inheritedEnvironment(), LC_ALL: 'C.UTF-8' },
    args: [
      '--no-sandbox',
      '--headless=shell',
      '--disable-gpu',
      '--disable-background-networking',
      '--no-first-run',
    ],
  });
}

export interface View {
  width: number;
  theme: 'light' | 'dark';
}

export interface OpenPage {
  context: BrowserContext;
  page: Page;
  /** What the page complained about: script errors, refusals of the content security policy, failed requests to elsewhere. */
  complaints: string[];
}

/** A fresh browser profile. Every request to another place than the appliance is a complaint. */
export async function openPage(browser: Browser, url: string, view: View): Promise<OpenPage> {
  const context = await browser.newContext({
    baseURL: url,
    ignoreHTTPSErrors: true,
    viewport: { width: view.width, height: view.width < 500 ? 800 : 900 },
    colorScheme: view.theme,
    reducedMotion: 'reduce',
    timezoneId: 'Europe/Berlin',
    acceptDownloads: true,
  });
  context.setDefaultTimeout(20_000);
  const complaints: string[] = [];
  await context.addInitScript(
    `addEventListener('securitypolicyviolation', (event) => {
      console.error('Content Security Policy: ' + event.violatedDirective + ' refused ' + event.blockedURI);
    });`,
  );
  const page = await context.newPage();
  page.on('pageerror', (error) => complaints.push(`script: ${error.message}`));
  page.on('console', (message) => {
    const text = message.text();
    if (message.type() === 'error' && /Content Security Policy|Uncaught/i.test(text)) complaints.push(text);
  });
  page.on('request', (request) => {
    const there = request.url();
    if (!there.startsWith(url) && !/^(data|blob|about):/.test(there))
      complaints.push(`outside request: ${there}`);
  });
  return { context, page, complaints };
}

/** Runs a flow; when it fails, what the browser shows then is kept in `.cache/web`, and its words are in the error. */
export async function keepingSight(page: Page, name: string, flow: () => Promise<void>): Promise<void> {
  try {
    await flow();
  } catch (error) {
    await page.evaluate(`document.querySelectorAll('details').forEach((one) => (one.open = true))`);
    await page.screenshot({ path: join(SIGHTS, `${name}.png`), fullPage: true }).catch(() => undefined);
    const shown = await page
      .locator('body')
      .innerText({ timeout: 2_000 })
      .catch(() => 'nothing');
    if (error instanceof Error) error.message += `\nThe page shows:\n${shown.slice(0, 3_000)}`;
    throw error;
  }
}

/** Pictures of a page for people to look at, wide and narrow, light and dark, in HOLDFAST_TEST_SIGHTS. Without it, none. */
export async function takeSights(page: Page, name: string): Promise<void> {
  const folder = process.env.HOLDFAST_TEST_SIGHTS;
  if (folder === undefined) return;
  for (const width of [1280, 375]) {
    await page.setViewportSize({ width, height: 900 });
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(300);
      await page.screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`), fullPage: true });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 900 });
}
