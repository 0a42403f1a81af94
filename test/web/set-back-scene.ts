/** What the tests of a set-back do over and over: the machine is claimed, somebody asks, another approves, the kit is given. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { expect } from 'vitest';
import {
  ageRecipientOf,
  answerKitChallenge,
  generateAgeIdentity,
  makeRecoveryKit,
  type RecoveryKit,
} from '../../server/keys/index.ts';
import type { PointInTimeStatus } from '../../server/backups/wal/schema.ts';
import { makeVolumeRecoveryKey } from '../../server/lib/volume-recovery-key.ts';
import { expectStatus, OWNER, takeOwnership, type ServedAppliance } from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { expectAccessible } from './accessible.ts';
import { keepingSight, openPage, type View } from './browser.ts';
import type { HostedMachine } from './machine-host.ts';
import { ADMIN } from './second-person.ts';
import { signIn } from './sign-in.ts';

export const NAME = 'Vault North';
export const REASON = 'The update broke the folders';
export const WIDE: View = { width: 1280, theme: 'light' };
export const NARROW: View = { width: 375, theme: 'dark' };

/** Owner, name, an owner of the volume, and a proven kit. */
export async function claimMachine(
  api: Pick<ServedAppliance, 'call' | 'url'>,
  claimCode: string,
): Promise<RecoveryKit> {
  await takeOwnership({ ...api, claimCode }, OWNER);
  const settings = {
    name: NAME,
    stage: 'production',
    region: 'eu-central',
    allowedRegions: ['eu-central', 'eu-north'],
  };
  await expectStatus(api.call('PUT', '/settings/appliance', settings), 200);
  const recoveryKey = makeVolumeRecoveryKey();
  const daily = { kind: 'passphrase', label: 'Daily', secret: 'gravel umbrella cello 41' };
  expect((await api.call('POST', '/host/claim-volume', { recoveryKey, daily })).status).toBeLessThan(300);
  const { identity } = await generateAgeIdentity();
  type Begun = {
    kitId: string;
    repositoryId: string;
    trustRoot: string;
    applianceName: string;
    createdAt: string;
    challenge: string;
  };
  const recipient = await ageRecipientOf(identity);
  const begun = await expectStatus(api.call<Begun>('POST', '/recovery-kits', { recipient }), 201);
  const response = await answerKitChallenge(begun.kitId, identity, begun.challenge);
  await expectStatus(api.call('POST', `/recovery-kits/${begun.kitId}/proof`, { response }), 200);
  const { kitId, repositoryId, trustRoot, applianceName, createdAt } = begun;
  const parts = { kitId, repositoryId, trustRoot, applianceName, createdAt };
  return makeRecoveryKit({ ...parts, ageIdentity: identity, volumeRecoveryKey: recoveryKey, targets: [] });
}

/** An update whose safety snapshot it was, as the history has it. */
export async function noteUpdate(machine: HostedMachine, safetySnapshotId: string): Promise<void> {
  const at = new Date().toISOString();
  await machine.updates.records.add({
    ...{ id: randomUUID(), kind: 'update', state: 'confirmed', bundle: null },
    ...{ version: '1.0.0', fromVersion: '0.9.0', fromSlot: 'B', toSlot: 'A', restart: 'now' },
    ...{
      requestedAt: at,
      requestedBy: { kind: 'console' },
      skipReason: null,
      rehearsal: null,
      safetySnapshotId,
    },
    ...{
      installAttempts: 1,
      progress: 100,
      rebootAt: null,
      rebootedFrom: null,
      endedAt: at,
      message: '1.0.0 runs.',
    },
  });
}

export async function filesOf(page: Page): Promise<string[]> {
  await page.goto('/files');
  await page.getByRole('button', { name: 'kept.txt', exact: true }).waitFor();
  return (await page.getByRole('button', { name: /\.txt$/ }).allTextContents())
    .map((text) => text.trim())
    .filter((text) => text !== '');
}

export const picture = (page: Page, name: string) =>
  page.screenshot({
    path: join(import.meta.dirname, '../../.cache/web', `set-back-${name}.png`),
    fullPage: true,
  });

export async function giveKit(page: Page, text: string): Promise<void> {
  await page.getByLabel('Or paste the whole kit').fill(text);
  await page.getByRole('button', { name: 'Use this kit' }).click();
}

export async function confirm(page: Page): Promise<void> {
  await page.getByLabel(`Type ${NAME} to confirm`).fill(NAME);
}

export async function askInBrowser(page: Page): Promise<void> {
  await page.getByLabel('Reason').fill(REASON);
  await page.getByRole('button', { name: /^Ask (for approval|again)$/ }).click();
  await page.getByText('It is asked for.').waitFor();
  await expectAccessible(page, 'a set-back that is asked for');
}

/** In a browser of their own, on a small dark screen: what it means in numbers, and the word for it. */
export async function approveInBrowser(browser: Browser, url: string): Promise<void> {
  const { context, page, complaints } = await openPage(browser, url, NARROW);
  await keepingSight(page, 'set-back-approve', async () => {
    await page.goto('/approvals');
    await signIn(page, ADMIN);
    const request = page.getByRole('region', { name: 'Set this appliance back' });
    await request.getByText('1 file added or changed').waitFor();
    await request.getByText('Approving does not begin it').waitFor();
    await expectAccessible(page, 'a set-back to approve');
    await picture(page, 'approve-375');
    await request.getByRole('button', { name: 'Approve' }).click();
    const dialog = page.getByRole('dialog', { name: 'Approve it?' });
    await expectAccessible(page, 'approving a set-back');
    await picture(page, 'approving-375');
    await dialog.getByRole('button', { name: 'Approve it' }).click();
    await page.getByText('Approved. It can be begun now').waitFor();
    await page.getByRole('table', { name: 'Past requests' }).getByText('Approved', { exact: true }).waitFor();
  });
  expect(complaints).toEqual([]);
  await context.close();
}

/** A whole second after which nothing was written yet, and that a target can be restored to. */
export async function momentNow(): Promise<string> {
  const at = new Date(Math.ceil(Date.now() / 1000) * 1000);
  await waitFor('the second to be over', () => Date.now() > at.getTime() + 100, 2_000, 50);
  return at.toISOString();
}

export async function waitForMoment(api: Pick<ServedAppliance, 'call'>, at: string): Promise<void> {
  const isShipped = async () => {
    const { targets } = await expectStatus(api.call<PointInTimeStatus>('GET', '/point-in-time'), 200);
    return targets.some(({ windows }) => windows.some(({ from, to }) => from <= at && at < to));
  };
  await waitFor('the log to reach the moment', isShipped, 120_000, 1_000);
}
