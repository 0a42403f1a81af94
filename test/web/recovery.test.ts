/**
 * A lost appliance that comes back, in the browser: a real `holdfast serve` beside the real application of hostd on a machine that
 * nobody owns, the real programs that look and recover, and the recovery page at the same address while the server is stopped.
 */
import { cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  giveBackCertificate,
  keptCertificateFolder,
} from '../../server/appliance/host/recovery/certificate.ts';
import { buildRecoveryPage } from '../../server/appliance/host/recovery/page.ts';
import type { RecoveryStatus } from '../../server/appliance/host/recovery/schema.ts';
import { generateAgeIdentity, kitToJson, kitToText, makeRecoveryKit } from '../../server/keys/index.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { createLog } from '../../server/lib/log.ts';
import { makeVolumeRecoveryKey } from '../../server/lib/volume-recovery-key.ts';
import { startBlankMachine, type BlankMachine } from '../appliance/host/blank-machine.ts';
import { OWNER } from '../helpers/appliance.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';
import { expectAccessible } from './accessible.ts';
import { signIn } from './sign-in.ts';
import {
  keepingSight,
  openPage,
  startAppliance,
  startBrowser,
  type Appliance,
  type View,
} from './browser.ts';

const LIMIT_MS = 300_000;
const LONG_MS = 120_000;
const PASSPHRASE = 'gravel umbrella cello 41';
const NAME = 'Vault North';

let browser: Browser;
let old: StockedAppliance;
let top: string;

beforeAll(async () => {
  top = await mkdtemp(join(tmpdir(), 'holdfast-lost-'));
  await mkdir(join(top, 'empty'));
  [browser, old] = await Promise.all([startBrowser(), startStockedAppliance()]);
  await stock(old);
  await old.takeSnapshot();
  await old.upload('second.txt', Buffer.from('Later\n'));
  await old.takeSnapshot();
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await old.close();
  await rm(top, { recursive: true, force: true });
});

interface LostMachine {
  blank: BlankMachine;
  appliance: Appliance;
  /** Of the empty appliance that runs now. */
  claimCode(): string;
  repository: string;
  /** Holds the recovery at its first step until it is called. */
  letGo(): void;
  /** The recovery page answers. */
  pageShown: Promise<void>;
  close(): Promise<void>;
}

/** What systemd does on the image is done here: server and recovery page take turns on one port. */
async function startLostMachine(): Promise<LostMachine> {
  const repository = await mkdtemp(join(top, 'copy-'));
  await cp(old.targetPath, repository, { recursive: true });
  let page: FastifyInstance | undefined;
  let code = '';
  let letGo: () => void = () => undefined;
  let showPage: () => void = () => undefined;
  const pageShown = new Promise<void>((resolve) => (showPage = resolve));
  const held = new Promise<void>((resolve) => (letGo = resolve));
  const blank: BlankMachine = await startBlankMachine([top], {
    stop: async (units) => {
      if (units.includes('holdfast-server.service')) await appliance.pause();
      await page?.close();
      page = undefined;
    },
    startPage: async () => {
      const folder = keptCertificateFolder(blank.machine.places);
      const read = (name: string) => readFile(join(folder, name), 'utf8');
      page = await buildRecoveryPage({
        tls: { certificate: await read('certificate.pem'), key: await read('key.pem') },
        log: createLog('silent', 'test'),
        status: () => blank.client.get<RecoveryStatus>('/recovery'),
      });
      await page.listen({ host: '127.0.0.1', port: Number(new URL(appliance.url).port) });
      showPage();
      await held;
    },
    start: async () => {
      const { marker, tls } = dataPaths(blank.dataDir);
      if ((await readFile(marker).catch(() => undefined)) !== undefined) {
        await mkdir(tls, { recursive: true });
        await giveBackCertificate(blank.machine.places, tls);
      }
      void appliance.resume().then((made) => (code = made));
    },
  });
  const appliance: Appliance = await startAppliance({
    HOLDFAST_HOST_SOCKET: blank.socket,
    HOLDFAST_DATA: blank.dataDir,
    HOLDFAST_ROOT_KEY_FILE: join(blank.machine.places.run, 'root.key'),
  });
  code = appliance.claimCode;
  return {
    ...{ blank, appliance, repository },
    claimCode: () => code,
    letGo: () => letGo(),
    pageShown,
    close: async () => {
      letGo();
      await page?.close();
      await appliance.stop();
      await blank.close();
    },
  };
}

async function kitFor(parts: Partial<{ identity: string; repositoryId: string; volumeKey: string }>) {
  return makeRecoveryKit({
    kitId: '00000000-0000-4000-8000-000000000000',
    applianceName: NAME,
    createdAt: '2026-01-01T00:00:00.000Z',
    repositoryId: parts.repositoryId ?? old.kit.repositoryId,
    trustRoot: old.kit.trustRoot,
    ageIdentity: parts.identity ?? old.kit.identity,
    volumeRecoveryKey: parts.volumeKey ?? null,
    targets: [],
  });
}

async function giveCode(page: Page, code: string): Promise<void> {
  await page.getByLabel('Claim code').fill(code);
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('heading', { name: 'What is this machine to be?' }).waitFor();
  await page.getByText('Recover an appliance that was lost').click();
}

async function lookIn(page: Page, folder: string): Promise<void> {
  await page.getByRole('heading', { name: 'Where do its backups lie?' }).waitFor();
  await page.getByText('A folder of this machine', { exact: false }).click();
  await page.getByLabel('Folder', { exact: true }).last().fill(folder);
  await page.getByRole('button', { name: 'Look there' }).click();
}

async function chooseNewest(page: Page, oldMachine = 'The old machine is off for good'): Promise<void> {
  await page.getByRole('heading', { name: 'Which state does it go back to?' }).waitFor();
  await page.getByText('Say what is with the old machine').waitFor();
  await page.getByRole('radio', { name: oldMachine }).check();
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByRole('heading', { name: 'What opens its disk after a restart?' }).waitFor();
}

async function givePassphrase(page: Page): Promise<void> {
  await page.getByLabel('Passphrase', { exact: true }).fill(PASSPHRASE);
  await page.getByLabel('Passphrase again').fill(PASSPHRASE);
}

/** Signs in as the owner of the appliance that was lost, and finds its files. */
async function findItBack(page: Page): Promise<void> {
  await page.getByRole('heading', { name: 'The appliance is back' }).waitFor({ timeout: LONG_MS });
  await expectAccessible(page, 'the appliance is back');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await signIn(page, OWNER);
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  await page.goto('/files');
  for (const name of ['letter.txt', 'second.txt'])
    await page.getByRole('button', { name, exact: true }).waitFor();
  await page.goto('/audit');
  await page.getByText('host.recovery.begun').first().waitFor();
  await letItGoOn(page);
}

/** Until its owner has looked, nothing leaves it. */
async function letItGoOn(page: Page): Promise<void> {
  await page.getByRole('link', { name: 'Look at it and decide' }).click();
  await page.getByRole('heading', { level: 1, name: 'Quarantine' }).waitFor();
  await page.getByText('it was recovered from snapshot 2 of', { exact: false }).last().waitFor();
  await expectAccessible(page, 'quarantine');
  await page.getByRole('button', { name: 'Let it go on' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('Every other copy must be off').waitFor();
  await expectAccessible(page, 'letting it go on');
  await dialog.getByLabel(/^Type .* to confirm$/).fill(await nameToType(dialog));
  await dialog.getByRole('checkbox').check();
  await dialog.getByRole('button', { name: 'Let it go on' }).click();
  await page.getByText('This appliance is not in quarantine').waitFor();
  await expect.poll(() => page.getByRole('link', { name: 'Look at it and decide' }).count()).toBe(0);
  await expectAccessible(page, 'not in quarantine');
}

async function nameToType(dialog: Locator): Promise<string> {
  const label = (await dialog.getByText(/^Type .* to confirm$/).textContent()) ?? '';
  return /^Type (.*) to confirm$/.exec(label.trim())?.[1] ?? '';
}

describe('on the machine image', () => {
  it(
    'a wrong kit never leaves the browser; the lost appliance comes back beside one that may still run, and its owner signs in as before',
    { timeout: LIMIT_MS },
    async () => {
      const machine = await startLostMachine();
      const { context, page, complaints } = await openPage(browser, machine.appliance.url, {
        width: 1280,
        theme: 'light',
      });
      const sent: string[] = [];
      page.on('request', (request) => sent.push(request.postData() ?? ''));
      try {
        await keepingSight(page, 'recovery-1280', async () => {
          await page.goto('/');
          await giveCode(page, machine.claimCode());
          await expectAccessible(page, 'new or recovered');
          await page.getByRole('button', { name: 'Continue' }).click();
          await lookIn(page, join(top, 'empty'));
          await page.getByRole('alert').getByText('There is no backup repository').waitFor();
          await expectAccessible(page, 'no backups there');
          await lookIn(page, machine.repository);

          await page.getByRole('heading', { name: 'Its recovery kit' }).waitFor();
          const { identity } = await generateAgeIdentity();
          const paste = page.getByLabel('Or paste the whole kit');
          const use = page.getByRole('button', { name: 'Use this kit' });
          const stranger = '11111111-1111-4111-8111-111111111111';
          await paste.fill(kitToText(await kitFor({ identity, repositoryId: stranger })));
          await use.click();
          await page.getByRole('alert').getByText('belongs to another repository').waitFor();
          await paste.fill(kitToText(await kitFor({ identity })));
          await use.click();
          await page.getByRole('alert').getByText('does not open these backups').waitFor();
          await paste.fill(old.kit.identity);
          await use.click();
          await page.getByRole('alert').getByText('only the secret key').waitFor();
          expect(sent.filter((body) => body.includes('AGE-SECRET-KEY'))).toEqual([]);
          await expectAccessible(page, 'a wrong kit');

          const kit = await kitFor({ volumeKey: makeVolumeRecoveryKey() });
          await page.locator('input[type=file]').setInputFiles({
            name: 'kit.json',
            mimeType: 'application/json',
            buffer: Buffer.from(kitToJson(kit)),
          });
          await page.getByRole('heading', { name: 'Which state does it go back to?' }).waitFor();
          await page.getByText(NAME).waitFor();
          expect(
            await page.getByLabel('Snapshot', { exact: true }).locator('option').allTextContents(),
          ).toEqual([expect.stringMatching(/No\. 2, .*, newest/), expect.stringMatching(/No\. 1, /)]);
          await expectAccessible(page, 'snapshot');
          await chooseNewest(page, 'It may still run');
          await givePassphrase(page);
          await expectAccessible(page, 'unlocking');
          await page.getByRole('button', { name: 'Start the recovery' }).click();

          await page.getByRole('heading', { name: 'The appliance is being recovered' }).waitFor();
          await page.getByRole('heading', { name: 'Making room on this machine' }).waitFor();
          await expectAccessible(page, 'progress');
          await machine.pageShown;
          await seeRecoveryPage(machine);
          machine.letGo();
          await findItBack(page);
          expect(complaints).toEqual([]);
        });
      } finally {
        await context.close();
        await machine.close();
      }
    },
  );

  it(
    'a recovery that fails says why and is started again with the new claim code; a kit without a key for the disk gets one',
    { timeout: LIMIT_MS },
    async () => {
      const machine = await startLostMachine();
      machine.letGo();
      const view: View = { width: 375, theme: 'dark' };
      const { context, page, complaints } = await openPage(browser, machine.appliance.url, view);
      const kit = kitToText(await kitFor({}));
      const untilUnlocking = async () => {
        await giveCode(page, machine.claimCode());
        await page.getByRole('button', { name: 'Continue' }).click();
        await lookIn(page, machine.repository);
        await page.getByLabel('Or paste the whole kit').fill(kit);
        await expectAccessible(page, 'kit');
        await page.getByRole('button', { name: 'Use this kit' }).click();
        await chooseNewest(page);
      };
      try {
        await keepingSight(page, 'recovery-375', async () => {
          await page.goto('/');
          await untilUnlocking();
          await page.getByText('A key service').click();
          await keepVolumeKey(page);
          await expectAccessible(page, 'unlocking, with a new key');
          await page.getByRole('button', { name: 'Start the recovery' }).click();

          await page
            .getByRole('heading', { name: 'The recovery did not succeed' })
            .waitFor({ timeout: LONG_MS });
          await page.getByRole('alert').getByText('could not be given its keys').waitFor();
          await expectAccessible(page, 'a failed recovery');
          const before = machine.appliance.claimCode;
          await page.waitForFunction(
            `fetch('/api/v1/setup').then((answer) => answer.status === 200, () => false)`,
            undefined,
            { timeout: LONG_MS, polling: 500 },
          );
          await page.getByRole('button', { name: 'Try again' }).click();
          await page.getByLabel('Claim code').fill(before);
          await page.getByRole('button', { name: 'Continue' }).click();
          await page.getByRole('alert').getByText('The claim code is wrong').waitFor();
          await expect.poll(() => machine.claimCode()).not.toBe(before);
          await untilUnlocking();
          await givePassphrase(page);
          await keepVolumeKey(page);
          await page.getByRole('button', { name: 'Start the recovery' }).click();
          await findItBack(page);
          expect(complaints).toEqual([]);
        });
      } finally {
        await context.close();
        await machine.close();
      }
    },
  );
});

/** The key is shown once; its last group is given back. */
async function keepVolumeKey(page: Page): Promise<void> {
  await page
    .getByText('The new recovery key was not given back')
    .or(page.getByText('needs at least'))
    .waitFor();
  const shown = (await page.getByRole('button', { name: /^Copy recovery key/ }).textContent()) ?? '';
  await page.getByLabel('Type the last four characters').fill(shown.trim().slice(-4));
}

/** What anybody else sees at the address meanwhile. */
async function seeRecoveryPage(machine: LostMachine): Promise<void> {
  for (const view of [
    { width: 1280, theme: 'light' },
    { width: 375, theme: 'dark' },
  ] as const) {
    const { context, page, complaints } = await openPage(browser, machine.appliance.url, view);
    await page.goto('/files/whatever');
    await page.getByRole('heading', { name: 'An appliance is being recovered onto this machine' }).waitFor();
    await page.getByText('Do not switch this machine off').waitFor();
    await expectAccessible(page, 'recovery page');
    const answer = await page.request.get('/api/v1/files');
    expect(answer.status()).toBe(503);
    expect(complaints).toEqual([]);
    await context.close();
  }
}

describe('elsewhere', () => {
  it('the page names the command, and asks for nothing', { timeout: LIMIT_MS }, async () => {
    const appliance = await startAppliance();
    const { context, page, complaints } = await openPage(browser, appliance.url, {
      width: 375,
      theme: 'light',
    });
    try {
      await keepingSight(page, 'recovery-elsewhere', async () => {
        await page.goto('/');
        await giveCode(page, appliance.claimCode);
        await page.getByRole('button', { name: 'Continue' }).click();
        await page.getByText('holdfast recover --from TARGET --kit KIT --data NEW-FOLDER').waitFor();
        expect(await page.locator('main input').count()).toBe(0);
        await expectAccessible(page, 'the command');
        expect(complaints).toEqual([]);
      });
    } finally {
      await context.close();
      await appliance.stop();
    }
  });
});
