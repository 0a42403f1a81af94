/** The page Audit in a real browser, before a real appliance; what it hands out is verified by the command, in a process of its own. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Download, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { ADMIN_ROLE, socketAddress, withClient } from '../../server/lib/postgres/index.ts';
import { runHoldfast } from '../helpers/served-appliance.ts';
import { expectAccessible } from './accessible.ts';
import { keepingSight, openPage, startAppliance, startBrowser, type Appliance } from './browser.ts';
import { addFirstTarget, claimWithKit, OWNER, proveFirstSnapshot } from './first-run.ts';
import { signIn } from './sign-in.ts';

const LIMIT_MS = 240_000;
const LONG_MS = 90_000;

let browser: Browser;
let appliance: Appliance;
let folder: string;
let kitFile: string;

beforeAll(async () => {
  [browser, appliance] = await Promise.all([startBrowser(), startAppliance()]);
  folder = await mkdtemp(join(tmpdir(), 'holdfast-web-audit-'));
  kitFile = join(folder, 'kit.txt');
  const { context, page } = await openPage(browser, appliance.url, { width: 1280, theme: 'light' });
  const look = async (): Promise<void> => undefined;
  await keepingSight(page, 'audit-first-run', async () => {
    const kit = await claimWithKit(page, appliance, look);
    await writeFile(kitFile, kit);
    await addFirstTarget(page, appliance, look);
    await proveFirstSnapshot(page, kit, look);
  });
  await context.close();
}, LIMIT_MS);

afterAll(async () => {
  await browser.close();
  await appliance.stop();
  await rm(folder, { recursive: true, force: true });
}, LIMIT_MS);

/** Runs a flow as the signed-in owner, in a browser profile of its own. */
async function onPage(
  name: string,
  path: string,
  flow: (page: Page) => Promise<void>,
  width = 1280,
): Promise<void> {
  const { context, page, complaints } = await openPage(browser, appliance.url, { width, theme: 'light' });
  await keepingSight(page, `audit-${name}`, async () => {
    await page.goto(path);
    await signIn(page, OWNER);
    await page.getByRole('heading', { name: 'Audit' }).waitFor();
    await flow(page);
  });
  expect(complaints).toEqual([]);
  await context.close();
}

/** As a superuser of the database, with triggers off. */
async function tamper(statement: string): Promise<void> {
  const { databaseSocket } = dataPaths(appliance.dataDir);
  await withClient(socketAddress(databaseSocket, ADMIN_ROLE, 'holdfast'), 'superuser', (client) =>
    client.query(`set session_replication_role = 'replica'; ${statement}`),
  );
}

async function keep(download: Promise<Download>): Promise<{ name: string; path: string }> {
  const file = await download;
  const path = join(folder, file.suggestedFilename());
  await file.saveAs(path);
  return { name: file.suggestedFilename(), path };
}

const verify = (path: string) =>
  runHoldfast(['audit', 'verify', path, '--kit', kitFile, '--json'], { dataDir: folder });

const rows = (page: Page) => page.getByRole('table', { name: 'Audit entries' }).locator('tbody tr');
const actions = (page: Page) => page.locator('tbody .action').allInnerTexts();

describe('what stands for the log', () => {
  it(
    'never calls an anchor on the disk of the data one outside this machine',
    { timeout: LIMIT_MS },
    async () => {
      await onPage('anchors', '/audit', async (page) => {
        await page.getByRole('heading', { name: 'Anchors', exact: true }).waitFor();
        await page.getByRole('listitem').filter({ hasText: 'local copy, not offsite' }).waitFor();
        await page.getByText('No checkpoint lies outside this machine').waitFor();
        expect(await page.getByText('Anchors outside this machine').count()).toBe(0);
      });
    },
  );
});

describe('who did it', () => {
  it('is told by name where people may be seen, and chosen by name', { timeout: LIMIT_MS }, async () => {
    await onPage('who', '/audit?object=', async (page) => {
      await page.getByLabel('Who').selectOption('A person…');
      await page
        .getByRole('dialog')
        .getByRole('radio', { name: new RegExp(OWNER.name) })
        .click();
      await page.waitForURL(/actor=[0-9a-f-]{36}/);
      await rows(page).first().waitFor();

      await page.locator('tbody .action').first().click();
      await page.getByRole('dialog').getByRole('link', { name: OWNER.name }).waitFor();
      await expectAccessible(page, 'an entry with its person');
    });
  });
});

describe('searching', () => {
  it('an address that is none is said, with what one looks like', { timeout: LIMIT_MS }, async () => {
    await onPage('refused', '/audit', async (page) => {
      await page.getByLabel('Address').fill('the office');
      await page.keyboard.press('Enter');

      await page.getByRole('alert').getByText('This is not an IP address').waitFor();
      await page.getByText('For example 192.0.2.7').waitFor();

      await page.getByLabel('Address').fill('203.0.113.9');
      await page.keyboard.press('Enter');
      await page.getByText('No entry fits').waitFor();
      await page.getByRole('button', { name: 'Clear filters' }).last().click();
      await rows(page).first().waitFor();
      expect(new URL(page.url()).search).toBe('');
    });
  });

  it(
    'what, who, when, object, result and address narrow the list, and lie in the address',
    {
      timeout: LIMIT_MS,
    },
    async () => {
      await onPage('search', '/audit', async (page) => {
        await page.getByPlaceholder('What was done').fill('snapshot');
        await page.waitForURL('**action=snapshot**');
        await expect
          .poll(() => actions(page))
          .toEqual(['backups.snapshot.stored', 'backups.snapshot.requested']);

        await page.getByLabel('Who').selectOption('The appliance');
        await expect.poll(() => actions(page)).toEqual(['backups.snapshot.stored']);
        await page.reload();
        await expect.poll(() => actions(page)).toEqual(['backups.snapshot.stored']);

        await page.getByRole('button', { name: 'Clear filters' }).click();
        await page.getByLabel('Result').selectOption('Refused');
        await expect.poll(() => actions(page)).toEqual(['appliance.claim.refused']);
        await page.goBack();
        await page.getByLabel('Object', { exact: true }).fill('target');
        await page.keyboard.press('Enter');
        await expect.poll(() => actions(page)).toEqual(['backups.target.added']);

        await page.locator('tbody').getByRole('button', { name: '127.0.0.1' }).click();
        await page.waitForURL('**address=127.0.0.1**');
        await page.locator('tbody').getByTitle('Only this target').click();
        await page.waitForURL(/object=[0-9a-f-]{36}/);
        await expect.poll(() => actions(page)).toEqual(['backups.target.added']);

        await page.getByLabel('From', { exact: true }).fill('2020-01-01');
        await page.getByLabel('To', { exact: true }).fill('2020-12-31');
        await page.getByText('No entry fits').waitFor();
      });
    },
  );

  it(
    'a filter is kept under a name, found at the next visit, and deleted, by keyboard',
    {
      timeout: LIMIT_MS,
    },
    async () => {
      await onPage('keep', '/audit?result=refused', async (page) => {
        await page.getByRole('button', { name: 'Kept filters' }).focus();
        await page.keyboard.press('Enter');
        await page.getByRole('menuitem', { name: 'Keep these filters' }).press('Enter');
        await page.getByLabel('Name').fill('What was refused');
        await page.keyboard.press('Enter');
        await page.getByRole('dialog').waitFor({ state: 'hidden' });
      });
      await onPage('kept', '/audit', async (page) => {
        await rows(page).first().waitFor();
        await page.getByRole('button', { name: 'Kept filters' }).press('ArrowDown');
        await page.getByRole('menuitemcheckbox', { name: 'What was refused' }).press('Enter');
        await expect.poll(() => actions(page)).toEqual(['appliance.claim.refused']);

        await page.getByRole('button', { name: 'Kept filters' }).press('ArrowDown');
        await page.getByRole('menuitem', { name: 'Delete kept ones' }).press('Enter');
        await page.getByRole('button', { name: 'Delete What was refused' }).press('Enter');
        await page.getByText('None is kept.').waitFor();
      });
    },
  );

  it('a long list comes page by page', { timeout: LIMIT_MS }, async () => {
    // With triggers off they wait for no place, which is as a superuser puts them in; removed again at the end.
    await tamper(`insert into audit_entries (id, at, actor_kind, actor_label, action, object_type, result, salt)
      select gen_random_uuid(), now(), 'system', 'tests', 'tests.thing.done', 'thing', 'done', decode(md5(g::text), 'hex')
      from generate_series(1, 250) g`);
    try {
      await onPage('pages', '/audit?type=thing', async (page) => {
        await page.getByRole('button', { name: 'Show more' }).press('Enter');
        // With many rows the next pages come as the last ones are scrolled to.
        await expect.poll(() => scrollToEnd(page), { timeout: LONG_MS }).toBe(0);
        await page.getByText('250 entries').waitFor();
      });
    } finally {
      await tamper(`delete from audit_entries where object_type = 'thing'`);
    }
  });
});

/** @returns how many buttons offer more. */
async function scrollToEnd(page: Page): Promise<number> {
  await page.evaluate(`document.querySelector('tbody tr:last-child')?.scrollIntoView()`);
  return page.getByRole('button', { name: 'Show more' }).count();
}

describe('proof', () => {
  it(
    'the panel says what is signed, by which key and who else has it; "Verify now" says what it found',
    {
      timeout: LIMIT_MS,
    },
    async () => {
      await onPage('panel', '/audit', async (page) => {
        const panel = page.getByRole('region', { name: 'Proof' });
        await panel.getByText(/^SHA256:[A-Za-z0-9+/]{43}$/).waitFor();
        await panel.getByRole('listitem').getByText('Anchored').waitFor();

        await panel.getByRole('button', { name: 'Verify now' }).press('Enter');

        await panel.getByText('As it was written').waitFor({ timeout: LONG_MS });
        await page
          .getByRole('button', { name: 'audit.log.verified' })
          .or(rows(page).first())
          .first()
          .waitFor();
      });
    },
  );

  it('the owner says for how long entries are kept, and why', { timeout: LIMIT_MS }, async () => {
    await onPage('retention', '/audit', async (page) => {
      const panel = page.getByRole('region', { name: 'Proof' });
      await panel.getByText('7 years; who read which file 180 days').waitFor();

      await panel.getByRole('button', { name: 'Change' }).press('Enter');
      await page.getByLabel('Acts', { exact: true }).fill('364');
      await page.getByText('Acts: 365 to 36,500 days').first().waitFor();
      await page.getByLabel('Acts', { exact: true }).fill('3653');
      await page.getByLabel('Why that long').fill('The archive law asks for ten years');
      await expectAccessible(page, 'retention of the log');
      await page.getByRole('button', { name: 'Save', exact: true }).press('Enter');

      await panel.getByText('10 years; who read which file 180 days').waitFor();
      await page.goto('/audit?action=audit.retention.changed');
      await rows(page).first().waitFor();
      expect(await rows(page).count()).toBe(1);
    });
  });

  it(
    'of one entry is downloaded and verifies by itself; a changed one does not',
    {
      timeout: LIMIT_MS,
    },
    async () => {
      await onPage('proof', '/audit?action=backups.target.added', async (page) => {
        await page.locator('tbody .action').press('Enter');
        const download = page.waitForEvent('download');
        await page.getByRole('button', { name: 'Download proof' }).press('Enter');
        const { name, path } = await keep(download);
        await page.keyboard.press('Escape');
        await page.getByRole('dialog').waitFor({ state: 'hidden' });
        expect(await page.evaluate('document.activeElement.className')).toContain('action');

        const good = await verify(path);
        const text = await readFile(path, 'utf8');
        await writeFile(
          path,
          text.replace(/^index (\d+)$/m, (_, index) => `index ${Number(index) + 1}`),
        );
        const bad = await verify(path);

        expect(name).toMatch(/^audit-[0-9a-f-]{36}\.tlog-proof$/);
        expect(JSON.parse(good.stdout)).toMatchObject({
          valid: true,
          entry: { action: 'backups.target.added', result: 'done' },
        });
        expect([good.exitCode, bad.exitCode]).toEqual([0, 1]);
      });
    },
  );

  it(
    'of what the filters show is downloaded, and each entry of it verifies',
    {
      timeout: LIMIT_MS,
    },
    async () => {
      await onPage('selection', '/audit?action=backups.', async (page) => {
        await rows(page).first().waitFor();
        const shown = await actions(page);
        const { name, path } = await exportLog(page);

        const { exitCode, stdout } = await verify(path);

        expect(name).toMatch(/^holdfast-audit-selection-[\d-]+\.jsonl$/);
        expect(JSON.parse(stdout)).toMatchObject({
          ok: true,
          filter: { action: 'backups.' },
          entries: shown.length,
          proven: shown.length,
        });
        expect(exitCode).toBe(0);
      });
    },
  );

  it('of the whole log, or from a day on, is downloaded and verifies', { timeout: LIMIT_MS }, async () => {
    await onPage('export', '/audit', async (page) => {
      await rows(page).first().waitFor();
      const whole = await verify((await exportLog(page)).path);
      const since = await verify((await exportLog(page, '2026-01-01')).path);

      expect(JSON.parse(whole.stdout)).toMatchObject({ ok: true, from: 0, uncovered: 0 });
      expect(JSON.parse(since.stdout)).toMatchObject({ ok: true });
      expect([whole.exitCode, since.exitCode]).toEqual([0, 0]);
    });
  });
});

async function exportLog(page: Page, day?: string): Promise<{ name: string; path: string }> {
  await page.getByRole('button', { name: 'Export log' }).press('Enter');
  if (day !== undefined) {
    await page.getByRole('radio', { name: /^From a day on/ }).check();
    await page.getByRole('textbox', { name: 'Day' }).fill(day);
  }
  const download = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download' }).click();
  const kept = await keep(download);
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  return kept;
}

describe('on a telephone', () => {
  it(
    'nothing sticks out sideways, and axe finds nothing, whatever is open',
    { timeout: LIMIT_MS },
    async () => {
      await onPage(
        'small',
        '/audit',
        async (page) => {
          await rows(page).first().waitFor();
          await expectAccessible(page, 'audit');
          await page.getByRole('button', { name: 'Filters', exact: true }).click();
          await page.getByLabel('Object id').waitFor();
          await expectAccessible(page, 'audit with its filters');
          await page.getByRole('button', { name: 'Export log' }).click();
          await expectAccessible(page, 'export of the log');
          await page.keyboard.press('Escape');
          await page.locator('tbody .action').first().click();
          await page.getByRole('button', { name: 'Download proof' }).waitFor();
          await expectAccessible(page, 'an entry');
        },
        375,
      );
    },
  );
});

describe('a log that somebody changed', () => {
  it(
    'is shown for what was done to it, also without a checkpoint left, and its export says the same',
    {
      timeout: LIMIT_MS,
    },
    async () => {
      await tamper(`update audit_entries set result = 'failed' where action = 'backups.target.added';
      delete from audit_checkpoints`);
      await onPage('changed', '/audit', async (page) => {
        const panel = page.getByRole('region', { name: 'Proof' });
        await panel.getByText('none is left').waitFor();

        await panel.getByRole('button', { name: 'Verify now' }).click();

        await panel.getByText(/^\d+ findings?$/).waitFor({ timeout: LONG_MS });
        await panel.getByText(/^edited The entry at position \d+ is not what was written there$/).waitFor();
        const { exitCode, stdout } = await verify((await exportLog(page)).path);
        expect(stdout).toContain('"edited"');
        expect(exitCode).toBe(1);
        await expectAccessible(page, 'a changed log');
      });
    },
  );
});
