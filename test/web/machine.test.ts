/**
 * The pages of the machine: a real `holdfast serve` beside the real application of hostd, with a disk in an image file. What is done
 * in the browser is looked up on the disk, in hostd's files and in the certificate that the port shows.
 */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readNetworkSettings } from '../../server/appliance/host/network/trial.ts';
import { findKeyslot, readHeader } from '../../server/appliance/host/volume/luks.ts';
import { tool } from '../helpers/tools.ts';
import { expectAccessible, expectAccessibleEverywhere } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { claimWithKit, OWNER } from './first-run.ts';
import { NEXT_VERSION, startMachine, type HostedMachine } from './machine-host.ts';
import { signIn } from './sign-in.ts';

const LIMIT_MS = 240_000;
const PASSPHRASE = 'gravel umbrella cello 41';
const PAGES = ['', '/unlock-ways', '/network', '/ssh', '/certificate', '/updates', '/shares', '/hardening'];
const run = promisify(execFile);

let browser: Browser;
let machine: HostedMachine;
let appliance: Appliance;
let kit: string;

beforeAll(async () => {
  [browser, machine] = await Promise.all([startBrowser(), startMachine()]);
  appliance = await startAppliance({ HOLDFAST_HOST_SOCKET: machine.socket });
  const { context, page, complaints } = await openPage(browser, appliance.url, { width: 375, theme: 'dark' });
  await keepingSight(page, 'machine', async () => {
    kit = await claimWithKit(page, appliance, expectAccessible, PASSPHRASE);
  });
  expect(complaints).toEqual([]);
  await context.close();
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
  await machine.close();
}, LIMIT_MS);

/** Somebody signed in at a page of the machine; what the browser complains about fails the flow. */
async function at(path: string, flow: (page: Page) => Promise<void>): Promise<void> {
  const { context, page, complaints } = await openPage(browser, appliance.url, {
    width: 1280,
    theme: 'light',
  });
  await page.goto(`/appliance${path}`);
  await signIn(page, OWNER);
  await page.getByRole('navigation', { name: 'Appliance' }).waitFor();
  await keepingSight(page, 'machine', () => flow(page));
  expect(complaints).toEqual([]);
  await context.close();
}

async function settled(page: Page): Promise<void> {
  await page.getByRole('heading', { level: 1 }).waitFor();
  const loading = page.getByText('Loading', { exact: true }).first();
  // The hardening report looks at the whole machine.
  await loading.waitFor({ state: 'detached', timeout: 60_000 });
}

describe('the first run', () => {
  it('puts a recovery key into the kit that opens the disk, as the passphrase does, and nothing else', async () => {
    const key = /(?:[0-9A-Z]{4}-){12}[0-9A-Z]{4}/.exec(kit)?.[0] ?? '';

    expect(await findKeyslot(machine.disk, key)).toBeDefined();
    expect(await findKeyslot(machine.disk, PASSPHRASE)).toBeDefined();
    expect((await readHeader(machine.disk))?.keyslots).toHaveLength(2);
    expect((await readHeader(machine.disk))?.label).toBe('holdfast-data');
  });
});

it(
  'axe finds nothing on the pages of the machine, and nothing sticks out sideways',
  { timeout: LIMIT_MS },
  async () => {
    await at('', async (page) => {
      for (const path of PAGES) {
        await page.goto(`/appliance${path}`);
        await settled(page);
        await expectAccessibleEverywhere(page, path);
      }
    });
  },
);

/** By keyboard; the first item has the focus then. */
async function openMenu(page: Page, way: string): Promise<void> {
  // A dialog that is about to close still has the keyboard.
  await page.locator('dialog[open]').waitFor({ state: 'detached' });
  await page.getByRole('button', { name: `Actions for ${way}` }).press('Enter');
  await page.getByRole('menuitem', { name: 'Test' }).and(page.locator(':focus')).waitFor();
}

describe('unlock ways', () => {
  it(
    'one is added, tested, renamed and removed by keyboard; the last recovery key cannot be',
    { timeout: LIMIT_MS },
    async () => {
      await at('/unlock-ways', async (page) => {
        await page.getByRole('button', { name: 'Add a way' }).focus();
        await page.keyboard.press('Enter');
        await page.getByRole('dialog').waitFor();
        await expectAccessible(page, 'add a way');
        const add = page.getByRole('button', { name: 'Add the way' });
        expect(await add.getAttribute('aria-disabled')).toBe('true');
        await page.getByLabel('Passphrase', { exact: true }).focus();
        for (const text of [
          'seven brass lanterns hum',
          'seven brass lanterns hum',
          'Night shift',
          'wrong one here',
        ]) {
          await page.keyboard.type(text);
          await page.keyboard.press('Tab');
        }
        await page.getByLabel('Passphrase or recovery key that opens').press('Enter');
        await page
          .getByRole('alert')
          .getByText('does not open the data volume')
          .waitFor({ timeout: LIMIT_MS });
        await page.getByLabel('Passphrase or recovery key that opens').fill(PASSPHRASE);
        await page.keyboard.press('Enter');
        await page.getByRole('cell', { name: 'Night shift', exact: true }).waitFor({ timeout: LIMIT_MS });
        expect(await findKeyslot(machine.disk, 'seven brass lanterns hum')).toBeDefined();

        await openMenu(page, 'Night shift');
        await page.keyboard.press('Enter');
        await page.getByRole('dialog').getByLabel('Passphrase').fill('not this one, surely');
        await page.keyboard.press('Enter');
        await page.getByRole('alert').getByText('does not open the volume').waitFor({ timeout: LIMIT_MS });
        await page.getByRole('dialog').getByLabel('Passphrase').fill('seven brass lanterns hum');
        await page.keyboard.press('Enter');
        await page.getByText('Night shift opens the data volume').waitFor({ timeout: LIMIT_MS });

        await openMenu(page, 'Night shift');
        await page.keyboard.press('ArrowDown');
        await page.keyboard.press('Enter');
        await page.getByLabel('Label').fill('Day shift');
        await page.keyboard.press('Enter');
        await page.getByRole('cell', { name: 'Day shift', exact: true }).waitFor();

        await page.getByRole('button', { name: 'Actions for Recovery kit' }).click();
        await page.getByText('A recovery key must be left').waitFor();
        await page.keyboard.press('Escape');
        await openMenu(page, 'Day shift');
        await page.keyboard.press('End');
        await page.keyboard.press('Enter');
        await page.getByLabel('Type Day shift to confirm').fill('Day shift');
        await expectAccessible(page, 'remove a way');
        await page.keyboard.press('Enter');
        await page.getByText('Day shift opens nothing any more').waitFor({ timeout: LIMIT_MS });
        expect(await findKeyslot(machine.disk, 'seven brass lanterns hum')).toBeUndefined();
      });
    },
  );
});

describe('network', () => {
  it(
    'settings that cannot be right are refused; good ones count only when they are kept',
    { timeout: LIMIT_MS },
    async () => {
      await at('/network', async (page) => {
        await page.getByRole('radio', { name: /Fixed/ }).check();
        await page.getByLabel('Addresses with prefix').fill('192.0.2.10/24');
        await page.getByLabel('Gateways').fill('198.51.100.1');
        await page.getByRole('button', { name: 'Try for a minute' }).click();
        await page.getByRole('alert').getByText("lies in none of this machine's networks").waitFor();
        expect(machine.applied).toEqual([]);

        await page.getByLabel('Gateways').fill('192.0.2.1');
        await page.getByRole('button', { name: 'Try for a minute' }).click();
        await page.getByRole('timer').waitFor();
        await page.getByRole('link', { name: 'https://192.0.2.10' }).waitFor();
        await expectAccessible(page, 'network on trial');
        expect(await readNetworkSettings(machine.machine.places)).toEqual({});
        await page.getByRole('button', { name: 'Put the old ones back' }).click();
        await page.getByText('The old settings count again').waitFor();
        expect(machine.applied.at(-1)).toEqual({});

        await page.getByRole('radio', { name: /As the cloud says/ }).check();
        await page.getByLabel('Time servers').fill('time.example.org, 192.0.2.123');
        await page.getByRole('button', { name: 'Try for a minute' }).click();
        await page.getByRole('button', { name: 'Keep the settings' }).click();
        await page.getByText('The new network settings count from now on').waitFor();
        expect(await readNetworkSettings(machine.machine.places)).toEqual({
          timeServers: ['time.example.org', '192.0.2.123'],
        });
      });
    },
  );
});

describe('SSH', () => {
  it(
    'the owner opens it for a time, sees the passphrase once, and closes it from the banner',
    { timeout: LIMIT_MS },
    async () => {
      const folder = machine.bundles.folder;
      await run(tool('ssh-keygen').path, [
        '-q',
        '-t',
        'ed25519',
        '-N',
        '',
        '-C',
        'house',
        '-f',
        join(folder, 'ca'),
      ]);
      const [secret, authority] = await Promise.all(
        ['ca', 'ca.pub'].map((name) => readFile(join(folder, name), 'utf8')),
      );
      await at('/ssh', async (page) => {
        const open = page.getByRole('button', { name: 'Open SSH' });
        await page.getByLabel('Why').fill('The updates do not install');
        await page.getByLabel('Public key of the authority').fill(secret ?? '');
        await page.getByText('That is a private key. Take it away').waitFor();
        expect(await open.getAttribute('aria-disabled')).toBe('true');
        await page.getByLabel('Public key of the authority').fill('ssh-ed25519 AAAA');
        await page.getByLabel('For how long').selectOption({ label: '2 hours' });
        await open.click();
        await page.getByRole('alert').getByText('not a public key of a kind').waitFor();
        expect(machine.ssh).toEqual([]);

        await page.getByLabel('Public key of the authority').fill(authority ?? '');
        await page.getByLabel('From which networks').fill('192.0.2.0/24');
        await open.click();
        const passphrase = page.getByRole('button', { name: /^Copy one-time passphrase/ });
        await passphrase.waitFor({ timeout: LIMIT_MS });
        expect(await passphrase.innerText()).toMatch(/^([0-9A-Z]{4}-){5}[0-9A-Z]{4}$/);
        await page.getByText(/^In (2 h|1 h 59 m)/).waitFor();
        await page.getByText('The updates do not install').waitFor();
        await page.getByRole('button', { name: /^Copy fingerprint SHA256:/ }).waitFor();
        await page.getByRole('button', { name: /ssh -i id_ed25519 holdfast-support@/ }).waitFor();
        await page.getByText(/^SSH to this machine is open until/).waitFor();
        await expectAccessible(page, 'SSH that is open');
        expect(machine.ssh).toEqual(['account', 'start', 'firewall']);

        await page.reload();
        await page.getByRole('heading', { name: 'SSH is open' }).waitFor();
        expect(await passphrase.count()).toBe(0);
        await page.goto('/appliance/network');
        await page.getByRole('button', { name: 'Close now' }).click();
        await page.getByText(/^SSH to this machine is open until/).waitFor({ state: 'detached' });
        expect(machine.ssh.slice(3)).toEqual(['stop', 'no account', 'firewall']);

        await page.goto('/appliance/ssh');
        await page.getByRole('radio', { name: /The one of the last time/ }).waitFor();
        await page.getByText('Nobody can sign in to the machine below').waitFor();
      });
    },
  );
});

describe('certificate', () => {
  it(
    'a request goes out, its certificate comes back, and the next connection sees it',
    { timeout: LIMIT_MS },
    async () => {
      const folder = machine.bundles.folder;
      const openssl = (...args: string[]) => run(tool('openssl').path, args, { cwd: folder });
      await openssl(
        ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '9', '-subj', '/CN=House authority'],
        ...['-keyout', 'ca.key', '-out', 'ca.crt'],
      );
      await at('/certificate', async (page) => {
        await page.getByText('Browsers warn of this certificate').waitFor();
        await page.getByLabel('Names and addresses').fill('vault.example.org, 127.0.0.1');
        await page.getByRole('button', { name: 'Make a request' }).click();
        const [download] = await Promise.all([
          page.waitForEvent('download'),
          page.getByRole('button', { name: 'Download request' }).click(),
        ]);
        expect(download.suggestedFilename()).toBe('vault.example.org.csr');
        await writeFile(join(folder, 'one.csr'), await readFile(await download.path()));
        await openssl(
          ...['x509', '-req', '-in', 'one.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-days', '5'],
          ...['-copy_extensions', 'copy', '-out', 'one.crt'],
        );

        await page
          .getByLabel('File with: Certificate', { exact: true })
          .setInputFiles(join(folder, 'one.crt'));
        await page.getByRole('button', { name: 'Install', exact: true }).click();
        await page.getByText('The new certificate is used').waitFor();
        await page.getByText(/^[45] days left$/).waitFor();
        await expectAccessible(page, 'an installed certificate');
        expect(await issuerAt(Number(new URL(appliance.url).port))).toBe('House authority');
      });
    },
  );
});

describe('updates', () => {
  it(
    'what is not signed is refused in words; a good one is installed into the other slot and called off',
    { timeout: LIMIT_MS },
    async () => {
      const unsigned = await machine.bundles.makeUnsigned();
      const good = await machine.bundles.make({ version: NEXT_VERSION });
      await at('/updates', async (page) => {
        await page.getByText('No update is here').waitFor();
        await page.getByLabel('Update file').setInputFiles(unsigned);
        await page.getByRole('alert').getByText('This update is not signed').waitFor();
        await page.getByLabel('Update file').setInputFiles(good);
        await page.getByRole('button', { name: `Install ${NEXT_VERSION}` }).click();
        await page.getByRole('radio', { name: /When somebody says so/ }).check();
        await page.getByText('Without rehearsal and safety snapshot').click();
        const install = page.getByRole('dialog').getByRole('button', { name: 'Install' });
        expect(await install.getAttribute('aria-disabled')).toBe('true');
        await page.getByLabel('Reason').fill('There is no snapshot to rehearse on yet');
        await expectAccessible(page, 'install an update');
        await install.click();
        await page.getByText('Waits for restart').waitFor();
        await page.getByText('Starts next').waitFor();
        await page.getByRole('button', { name: 'Restart now' }).click();
        await expectAccessible(page, 'restart for an update');
        await page.getByRole('button', { name: 'Not now' }).click();
        await page.getByRole('button', { name: 'Cancel the update' }).click();
        await page.getByRole('cell', { name: 'Cancelled', exact: true }).waitFor();

        await page.getByText('Restart by itself only at certain times').click();
        await page.getByRole('button', { name: 'Sunday' }).click();
        await page.getByText('No day is chosen').waitFor();
        await page.getByRole('button', { name: 'Wednesday' }).click();
        await page.getByRole('button', { name: 'Save' }).click();
        await page.getByText('Maintenance window saved').waitFor();
        expect(await machine.updates.records.window()).toEqual({ days: [3], startHour: 2, hours: 3 });
      });
    },
  );
});

describe('hardening', () => {
  it(
    'what does not pass is shown first, with the reason; the rest is behind a filter in the address',
    { timeout: LIMIT_MS },
    async () => {
      await at('/hardening', async (page) => {
        await page.getByRole('button', { name: /^Passes \d+/ }).click({ timeout: LIMIT_MS });
        await page.waitForURL(/state=pass/);
        await page.getByRole('cell', { name: 'Passes' }).first().waitFor();
        expect(await page.getByRole('cell', { name: 'Fails' }).count()).toBe(0);
        const [download] = await Promise.all([
          page.waitForEvent('download'),
          page.getByRole('button', { name: 'Export the rows shown as CSV' }).click(),
        ]);
        expect(await readFile(await download.path(), 'utf8')).toMatch(/^Item,Result,Found,CIS,Name\r\n/);
      });
    },
  );
});

describe('the machine', () => {
  it('gives a support bundle without names or keys', { timeout: LIMIT_MS }, async () => {
    await at('', async (page) => {
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('button', { name: 'Download support bundle' }).click(),
      ]);
      const text = await readFile(await download.path(), 'utf8');

      expect(text).toContain('"product": "holdfast"');
      for (const secret of [OWNER.name, OWNER.email, PASSPHRASE, 'PRIVATE KEY', 'AGE-SECRET-KEY'])
        expect(text).not.toContain(secret);
    });
  });

  it(
    'restarts only after its name is typed, says that it comes back locked, and is waited for',
    { timeout: LIMIT_MS },
    async () => {
      machine.onSwitch = () => void appliance.restart();
      await at('', async (page) => {
        await page.getByRole('button', { name: 'Restart' }).click();
        await page.getByText('It comes back locked.').waitFor();
        await expectAccessible(page, 'restart dialog');
        const name = (await page.getByRole('dialog').getByRole('heading').innerText()).replace(
          'Restart ',
          '',
        );
        await page.getByLabel(/^Type .* to confirm$/).fill(`${name}x`);
        await page.keyboard.press('Enter');
        expect(machine.switched).toEqual([]);
        await page.getByLabel(/^Type .* to confirm$/).fill(name);
        await page.keyboard.press('Enter');
        await page.getByText('Services end').or(page.getByText('Down, waiting')).first().waitFor();
        expect(machine.switched).toEqual(['restart']);
        await page.getByRole('dialog').waitFor({ state: 'detached', timeout: LIMIT_MS });
        await page.getByText('Encrypted, open').waitFor();
      });
    },
  );
});

function issuerAt(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
      const { issuer } = socket.getPeerCertificate();
      socket.destroy();
      resolve(String(issuer.CN));
    });
    socket.once('error', reject);
  });
}
