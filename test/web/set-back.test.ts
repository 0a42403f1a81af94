/** Set back, undone and discarded in the browser: a real `holdfast serve`, the real application of hostd, its programs and recovery page. */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Health } from '../../server/appliance/host/health.ts';
import {
  giveBackCertificate,
  keptCertificateFolder,
} from '../../server/appliance/host/recovery/certificate.ts';
import { buildRecoveryPage } from '../../server/appliance/host/recovery/page.ts';
import type { RecoveryStatus } from '../../server/appliance/host/recovery/schema.ts';
import { settleAtStart } from '../../server/appliance/host/set-back/settle.ts';
import { connectHost, requireHost } from '../../server/appliance/host/client.ts';
import { generateAgeIdentity, kitToText, type RecoveryKit } from '../../server/keys/index.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { createLog } from '../../server/lib/log.ts';
import {
  addDirectoryTarget,
  callerOf,
  expectStatus,
  finishRun,
  OWNER,
  putFile,
  runHoldfast,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';
import { originOf, signInAs } from '../helpers/sign-in.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { expectAccessible } from './accessible.ts';
import { ADMIN, addAdministrator, decideAsAdministrator } from './second-person.ts';
import {
  approveInBrowser,
  askInBrowser,
  claimMachine,
  confirm,
  filesOf,
  giveKit,
  momentNow,
  NAME,
  NARROW,
  noteUpdate,
  picture,
  REASON,
  waitForMoment,
  WIDE,
} from './set-back-scene.ts';
import { signIn } from './sign-in.ts';
import {
  keepingSight,
  openPage,
  startAppliance,
  startBrowser,
  type Appliance,
  type View,
} from './browser.ts';
import { startMachine, type HostedMachine } from './machine-host.ts';

const LIMIT_MS = 400_000;
const LONG_MS = 120_000;

let top: string;
let browser: Browser;
let machine: HostedMachine;
let appliance: Appliance;
let api: Pick<ServedAppliance, 'call' | 'url'>;
let kit: RecoveryKit;
/** Set by a test to hold the recovery at its first step. */
let held: Promise<void> = Promise.resolve();
let showPage: () => void = () => undefined;
let health: () => Promise<Health>;

beforeAll(async () => {
  top = await mkdtemp(join(tmpdir(), 'holdfast-set-back-'));
  await mkdir(join(top, 'target'));
  browser = await startBrowser();
  machine = await startMachine({
    directories: [top],
    waitForHealth: () => health(),
    services: playServices(),
  });
  health = untilServing;
  appliance = await startAppliance({
    HOLDFAST_HOST_SOCKET: machine.socket,
    HOLDFAST_DATA: machine.dataDir,
    HOLDFAST_ROOT_KEY_FILE: join(machine.machine.places.run, 'root.key'),
  });
  api = callerOf(appliance.url);
  kit = await claimMachine(api, appliance.claimCode);
  await addDirectoryTarget(api, join(top, 'target'));
  await addAdministrator(api);
}, LIMIT_MS);
afterAll(async () => {
  await browser.close();
  await appliance.stop();
  await machine.close();
  await rm(top, { recursive: true, force: true });
}, LIMIT_MS);

/** What systemd does on the image: server and recovery page take turns on one port, and a start settles the folders first. */
function playServices() {
  let page: FastifyInstance | undefined;
  let resuming: Promise<unknown> = Promise.resolve();
  return {
    stop: async (units: readonly string[]) => {
      // One that has just begun to serve is stopped only when it can be.
      await resuming;
      if (units.includes('holdfast-server.service')) await appliance.pause();
      await page?.close();
      page = undefined;
    },
    startPage: async () => {
      const { places } = machine.machine;
      const read = (name: string) => readFile(join(keptCertificateFolder(places), name), 'utf8');
      const host = requireHost(connectHost({ hostSocket: machine.socket }));
      page = await buildRecoveryPage({
        tls: { certificate: await read('certificate.pem'), key: await read('key.pem') },
        log: createLog('silent', 'test'),
        status: () => host.get<RecoveryStatus>('/recovery'),
      });
      await page.listen({ host: '127.0.0.1', port: Number(new URL(appliance.url).port) });
      showPage();
      await held;
    },
    start: async () => {
      const { places, deps } = machine.machine;
      await settleAtStart({ ...deps, dataDir: machine.dataDir });
      await giveBackCertificate(places, dataPaths(machine.dataDir).tls);
      resuming = appliance.resume();
    },
  };
}

async function untilServing(): Promise<Health> {
  const ready = () =>
    api.call('GET', '/health/ready').then(
      ({ status }) => status === 200,
      () => false,
    );
  await waitFor('the appliance to serve', ready, LONG_MS, 500);
  return { healthy: true };
}

async function signInApi(): Promise<void> {
  await signInAs(api.call, originOf(api.url), OWNER);
}

const upload = (name: string) => putFile(api, name, 'some content of it\n'.repeat(5_000));

async function takeSnapshot(): Promise<string> {
  const run = await finishRun(api, api.call('POST', '/snapshots'));
  expect(run).toMatchObject({ state: 'succeeded' });
  return run.result.snapshotId ?? '';
}

async function at(
  view: View,
  path: string,
  name: string,
  flow: (page: Page, sent: string[]) => Promise<void>,
) {
  const { context, page, complaints } = await openPage(browser, appliance.url, view);
  const sent: string[] = [];
  page.on('request', (request) => sent.push(request.postData() ?? ''));
  await keepingSight(page, name, async () => {
    await page.goto(path);
    await signIn(page, OWNER);
    await flow(page, sent);
  });
  expect(complaints).toEqual([]);
  await context.close();
}

/** Asked for by the owner and approved by another, both elsewhere. */
async function permit(snapshot: string): Promise<void> {
  await signInApi();
  await expectStatus(api.call('POST', '/host/set-back/requests', { snapshot, reason: REASON }), 202);
  await decideAsAdministrator(appliance.url);
}

/** With the kit on standard input: it lies on no disk. */
async function setBackByCommand(): Promise<void> {
  const options = { dataDir: machine.dataDir, env: { HOLDFAST_HOST_SOCKET: machine.socket } };
  const words = ['update', 'set-back', '--kit', '-', '--reason', REASON];
  const unconfirmed = await runHoldfast(words, { ...options, input: kitToText(kit) });
  expect(unconfirmed).toMatchObject({
    exitCode: 2,
    stderr: expect.stringMatching(/Confirm it with --name/) as string,
  });
  expect(unconfirmed.stderr).toMatch(/Everything written since[^]* files added or changed/);

  const done = await runHoldfast([...words, '--name', NAME, '--json'], { ...options, input: kitToText(kit) });

  expect(done).toMatchObject({ exitCode: 0 });
  expect(JSON.parse(done.stdout)).toMatchObject({
    record: { state: 'kept', wanted: { actor: { kind: 'console' } } },
  });
  expect(done.stdout + done.stderr).not.toContain('AGE-SECRET-KEY');
  const status = await runHoldfast(['set-back', 'status'], options);
  expect(status.stdout).toMatch(/^Set back to snapshot 1 of .* The data from before are kept until/);
}

/** What anybody else sees at the address meanwhile. */
async function seeRecoveryPage(): Promise<void> {
  for (const view of [WIDE, NARROW]) {
    const { context, page, complaints } = await openPage(browser, appliance.url, view);
    await page.goto('/files/whatever');
    await page.getByRole('heading', { name: /^This appliance is set back to its data of / }).waitFor();
    await page.getByText('it starts with them by itself').waitFor();
    await expectAccessible(page, 'recovery page of a set-back');
    await picture(page, `recovery-page-${String(view.width)}`);
    expect(complaints).toEqual([]);
    await context.close();
  }
}

describe('on the machine image', () => {
  let snapshot: string;
  beforeAll(async () => {
    await upload('kept.txt');
    snapshot = await takeSnapshot();
    await noteUpdate(machine, snapshot);
    await upload('later.txt');
  }, LIMIT_MS);

  it(
    'an owner goes back to the safety snapshot of an update; what is lost is said with numbers, and a wrong kit never leaves the browser',
    { timeout: LIMIT_MS },
    async () => {
      let letGo: () => void = () => undefined;
      held = new Promise((resolve) => (letGo = resolve));
      const pageShown = new Promise<void>((resolve) => (showPage = resolve));
      await at(WIDE, '/appliance/updates', 'set-back-1280', async (page, sent) => {
        await page.getByRole('button', { name: /^Actions for the update to 1\.0\.0/ }).click();
        await picture(page, 'history-1280');
        await page.getByRole('menuitem', { name: 'Set back to its safety snapshot' }).click();
        await page.getByText(/^Everything written since .* is lost/).waitFor();
        await page.getByText('1 file that was added or changed').waitFor();
        await expectAccessible(page, 'set back');
        await picture(page, 'plan-1280');
        expect(await page.getByRole('heading', { name: 'Recovery kit' }).count()).toBe(0);

        await askInBrowser(page);
        await picture(page, 'asked-1280');
        await decideAsAdministrator(appliance.url, 'Try the way back of the update first');
        await page.reload();
        await page.getByText('It was refused.').waitFor();
        await page.getByText('Try the way back of the update first').waitFor();
        await expectAccessible(page, 'a refused set-back');
        await picture(page, 'refused-1280');
        await askInBrowser(page);
        await approveInBrowser(browser, appliance.url);
        await page.reload();
        await page.getByText('It is approved.').waitFor();
        await page.getByText(`Approved by ${ADMIN.name}`).waitFor();
        await expectAccessible(page, 'an approved set-back');
        await picture(page, 'approved-1280');

        const { identity } = await generateAgeIdentity();
        await giveKit(page, kitToText({ ...kit, ageIdentity: identity }));
        await page.getByRole('alert').getByText('does not open these backups').waitFor();
        expect(sent.filter((body) => body.includes('AGE-SECRET-KEY'))).toEqual([]);
        await giveKit(page, kitToText(kit));
        await page.getByText('The kit opens the backups').waitFor({ timeout: LONG_MS });
        const act = page.getByRole('button', { name: /^Set back to / });
        await page.getByLabel(`Type ${NAME} to confirm`).fill('Vault South');
        expect(await act.getAttribute('aria-disabled')).toBe('true');
        await confirm(page);
        await expectAccessible(page, 'set back, with a kit');
        await picture(page, 'ready-1280');
        await act.click();

        await page.getByRole('heading', { name: /^Set back to the data of / }).waitFor();
        await pageShown;
        await expectAccessible(page, 'progress of a set-back');
        await picture(page, 'progress-1280');
        await seeRecoveryPage();
        letGo();
        await page
          .getByText(/^This appliance is set back to its data of .* Sign in with the password/)
          .waitFor({
            timeout: LONG_MS,
          });
        await picture(page, 'signed-out-1280');
        await signIn(page, OWNER);
        await page.getByRole('heading', { name: 'This appliance was set back' }).waitFor();
        await machine.setBack.idle();
        await page.reload();
        await page.getByText(/^Set aside, /).waitFor();
        await page.getByText(/^This appliance was set back on .*: its data are those of/).waitFor();
        await expectAccessible(page, 'updates after a set-back');
        await picture(page, 'updates-1280');
        await page.goto('/');
        await page.getByRole('heading', { name: 'This appliance was set back' }).waitFor();
        await picture(page, 'overview-1280');
        expect(await filesOf(page)).toEqual(['kept.txt']);
      });
    },
  );

  it(
    'it goes on backing up to the same target, and nothing takes it for a clone',
    { timeout: LIMIT_MS },
    async () => {
      await signInApi();
      await upload('after.txt');

      await takeSnapshot();

      const { body } = await api.call<{ quarantine: unknown }>('GET', '/quarantine');
      expect(body.quarantine).toBeNull();
      type Entries = { items: { action: string; actorKind: string }[] };
      const known = async () => {
        const { body } = await api.call<Entries>('GET', '/audit?limit=200');
        const acts = body.items.map(({ action }) => action);
        return ['host.set-back.begun', 'host.set-back.ended', 'backups.appliance.recovered'].every((act) =>
          acts.includes(act),
        );
      };
      // The machine's journal is taken over every minute.
      await waitFor('the audit log to have it', known, LONG_MS, 1_000);
      const { body: overview } = await api.call<{ needsYou: { name: string; state: string }[] }>(
        'GET',
        '/overview',
      );
      expect(overview.needsYou.filter(({ state }) => state === 'bad')).toEqual([]);
    },
  );

  it(
    'it is undone on a small screen, and what was written before it is there again',
    { timeout: LIMIT_MS },
    async () => {
      held = Promise.resolve();
      await at(NARROW, '/appliance/updates', 'set-back-375', async (page) => {
        await page.getByRole('heading', { name: 'This appliance was set back' }).waitFor();
        await expectAccessible(page, 'updates after a set-back, small');
        await picture(page, 'updates-375');
        await page.getByRole('button', { name: 'Undo', exact: true }).click();
        await page.getByText('1 file that was added or changed').waitFor();
        await expectAccessible(page, 'undo');
        await picture(page, 'undo-375');
        const act = page.getByRole('button', { name: 'Undo the set-back' });
        expect(await act.getAttribute('aria-disabled')).toBe('true');
        await page.getByLabel('Reason').fill(REASON);
        await confirm(page);
        await act.click();
        await page.getByText(/^The set-back is undone: .* Sign in as before/).waitFor({ timeout: LONG_MS });
        await signIn(page, OWNER);
        await page.getByRole('heading', { level: 1, name: 'Updates' }).waitFor();
        expect((await filesOf(page)).sort()).toEqual(['kept.txt', 'later.txt']);
        await machine.setBack.idle();
        // The machine's journal is taken over every minute.
        const known = async () => {
          await page.goto('/audit');
          await page.getByText('appliance.set-back.wanted').first().waitFor();
          return page.getByText('host.set-back.undone').first().isVisible();
        };
        await waitFor('the audit log to have the undoing', known, LONG_MS, 5_000);
      });
      await signInApi();
      await takeSnapshot();
      const told = async (path: string) => (await api.call('GET', path)).body;
      expect(await told('/quarantine')).toEqual({ quarantine: null });
      expect(await told('/audit/log')).toMatchObject({ problem: null });
    },
  );

  it(
    'one on whose data the appliance does not start goes back by itself, and the page says why',
    { timeout: LIMIT_MS },
    async () => {
      health = async () => {
        await untilServing();
        return { healthy: false, reason: 'the server did not answer' };
      };
      await permit(snapshot);
      for (const name of ['more.bin', 'still-more.bin']) await upload(name);
      await at(NARROW, `/appliance/set-back/${snapshot}`, 'set-back-fails', async (page) => {
        await page.getByText(/^Everything written since .* is lost/).waitFor();
        await expectAccessible(page, 'set back, small');
        await page.getByText('More is lost now than when it was asked for').waitFor();
        await picture(page, 'grown-375');
        await giveKit(page, kitToText(kit));
        await page.getByText('The kit opens the backups').waitFor({ timeout: LONG_MS });
        await confirm(page);
        const act = page.getByRole('button', { name: /^Set back to / });
        expect(await act.getAttribute('aria-disabled')).toBe('true');
        await page.getByLabel('Lose that too').check();
        await picture(page, 'ready-375');
        await act.click();
        await page
          .getByText(/The set-back did not succeed: The appliance did not start on the data of the snapshot/)
          .or(page.getByLabel('E-mail'))
          .first()
          .waitFor({ timeout: LONG_MS });
        await waitFor(
          'it to come to rest',
          async () => {
            await machine.setBack.idle();
            return (await machine.setBack.view()).record?.state === 'failed';
          },
          LONG_MS,
        );
        await untilServing();
        await page.goto('/appliance/updates');
        await page
          .getByText(/did not succeed\./)
          .or(page.getByLabel('E-mail'))
          .first()
          .waitFor();
        if (await page.getByLabel('E-mail').isVisible()) await signIn(page, OWNER);
        await page.getByText(/The set-back to the data of .* did not succeed\./).waitFor();
        await expectAccessible(page, 'updates after a failed set-back');
        await picture(page, 'failed-375');
        expect((await filesOf(page)).sort()).toEqual(['kept.txt', 'later.txt']);
      });
      health = untilServing;
    },
  );

  it('what was set aside is discarded only when another one approves it', { timeout: LIMIT_MS }, async () => {
    health = untilServing;
    await signInApi();
    const wish = { snapshot, kit: kitToText(kit), name: NAME };
    expect((await api.call('POST', '/host/set-back', wish)).status).toBe(409);
    await setBackByCommand();
    await machine.setBack.idle();
    expect((await machine.setBack.view()).record).toMatchObject({ state: 'kept' });
    await at(WIDE, '/appliance', 'set-back-discard', async (page) => {
      await page.getByText('Of it set aside, by a set-back').waitFor();
      await picture(page, 'machine-1280');
      await page.goto('/appliance/updates');
      await page.getByRole('button', { name: 'Discard early' }).click();
      await page.getByText('become free').waitFor();
      await expectAccessible(page, 'discard');
      await picture(page, 'discard-1280');
      await page.getByLabel('Reason').fill('The volume runs full of it');
      await page.getByLabel(`Type ${NAME} to confirm`).fill(NAME);
      await page.keyboard.press('Enter');
      await page.getByText('Nothing has changed yet: another administrator').waitFor();
      await page.getByText(/^Set aside/).waitFor();
      await decideAsAdministrator(appliance.url);
      await page.reload();
      await page.getByRole('heading', { name: 'This appliance was set back' }).waitFor({ state: 'detached' });
    });
    expect((await machine.setBack.view()).record).toMatchObject({ state: 'discarded' });
  });

  it(
    'the appliance goes back to a moment between two snapshots, by the log that was shipped',
    { timeout: LIMIT_MS },
    async () => {
      await signInApi();
      await expectStatus(
        api.call('PUT', '/point-in-time', {
          enabled: true,
          windowDays: 3,
          objectiveSeconds: 300,
          pileLimitBytes: null,
        }),
        200,
      );
      await takeSnapshot();
      await upload('before-the-moment.txt');
      const moment = await momentNow();
      await upload('after-the-moment.txt');
      await waitForMoment(api, moment);
      await at(WIDE, '/point-in-time', 'set-back-moment', async (page) => {
        await page.getByLabel('Moment (UTC)').fill(moment.slice(0, 19));
        await page.getByRole('link', { name: 'Set this appliance back to this moment' }).click();
        await page.getByText(/^Everything written since .* is lost/).waitFor();
        await page.getByText('1 file that was added or changed').waitFor();
        await page.getByText('From snapshot, by the log').waitFor();
        await expectAccessible(page, 'set back to a moment');
        await picture(page, 'moment-1280');
        await askInBrowser(page);
        await decideAsAdministrator(appliance.url);
        await page.reload();
        await page.getByText('It is approved.').waitFor();
        await giveKit(page, kitToText(kit));
        await page.getByText('The kit opens the backups').waitFor({ timeout: LONG_MS });
        await confirm(page);
        await page.getByRole('button', { name: /^Set back to / }).click();
        await page
          .getByText(/^This appliance is set back to its data of .* Sign in with the password/)
          .waitFor({ timeout: LONG_MS });
        await signIn(page, OWNER);
        expect((await filesOf(page)).sort()).toEqual(['before-the-moment.txt', 'kept.txt']);
        await machine.setBack.idle();
        expect((await machine.setBack.view()).record).toMatchObject({ state: 'kept', moment });
        await page.goto('/appliance/updates');
        await page.getByText(/^Set aside, /).waitFor();
        await picture(page, 'moment-updates-1280');
      });
    },
  );
});
