/** An update that is uploaded in the browser: paused, left by a reload, gone on with, discarded. */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { waitFor } from '../helpers/wait-for.ts';
import { expectAccessible } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { claimWithKit } from './first-run.ts';
import { NEXT_VERSION, startMachine, type HostedMachine } from './machine-host.ts';

const LIMIT_MS = 240_000;

let browser: Browser;
let machine: HostedMachine;
let appliance: Appliance;
let page: Page;
let complaints: string[];
let file: string;
let part: string;

beforeAll(async () => {
  [browser, machine] = await Promise.all([startBrowser(), startMachine()]);
  appliance = await startAppliance({ HOLDFAST_HOST_SOCKET: machine.socket });
  file = await machine.bundles.make({ version: NEXT_VERSION });
  part = join(machine.updates.store.folder, 'upload.part');
  ({ page, complaints } = await openPage(browser, appliance.url, { width: 375, theme: 'light' }));
  await claimWithKit(page, appliance, async () => undefined, 'gravel umbrella cello 41');
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
  await machine.close();
}, LIMIT_MS);

/** Bytes a second that the browser may send; undefined: as many as it can. */
async function limitSending(bytesPerSecond: number | undefined): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await session.send('Network.emulateNetworkConditions', {
    offline: false,
    latency: 0,
    downloadThroughput: -1,
    uploadThroughput: bytesPerSecond ?? -1,
  });
}

it(
  'it goes on after a pause, and after a reload with the same file; another file is refused, and it can be discarded',
  { timeout: LIMIT_MS },
  async () => {
    await keepingSight(page, 'update-upload', async () => {
      await page.goto('/appliance/updates');
      await limitSending(8_000);
      await page.getByLabel('Update file').setInputFiles(file);
      await waitFor(
        'some of it to arrive',
        async () => ((await stat(part).catch(() => undefined))?.size ?? 0) > 0,
      );
      await page.getByRole('button', { name: 'Pause' }).click();
      await page.getByText('paused').waitFor();
      await expectAccessible(page, 'a paused upload');
      await page.getByRole('button', { name: 'Resume' }).click();
      await page.getByRole('button', { name: 'Pause' }).click();

      await page.reload();
      await page.getByText('Choose the same file to go on').waitFor();
      await expectAccessible(page, 'an upload that somebody left');
      const other = Buffer.concat([await readFile(file), Buffer.from('x')]);
      const input = { name: 'other.raucb', mimeType: 'application/octet-stream', buffer: other };
      await page.getByLabel('Update file').setInputFiles(input);
      await page
        .getByRole('alert')
        .getByText(/is being uploaded/)
        .waitFor();
      await limitSending(undefined);
      await page.getByLabel('Update file').setInputFiles(file);
      await page.getByRole('button', { name: `Install ${NEXT_VERSION}` }).waitFor();
      await page.getByRole('button', { name: 'Upload a file' }).waitFor();

      await limitSending(8_000);
      await page.getByLabel('Update file').setInputFiles(file);
      await page.getByRole('button', { name: 'Discard the upload' }).click();
      await page.getByRole('button', { name: 'Upload a file' }).waitFor();
      expect(await machine.updates.uploads.current()).toBeUndefined();
    });
    expect(complaints).toEqual([]);
  },
);
