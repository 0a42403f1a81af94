/** A snapshot that shrank and a run that the appliance stopped, in a real browser: said, looked at, and a person's word taken. */
import { randomUUID } from 'node:crypto';
import type { Page } from 'playwright-core';
import { it } from 'vitest';
import { addDirectoryTarget, expectStatus, finishRun, OWNER, putFile } from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { expectAccessibleEverywhere } from './accessible.ts';
import { takeSights } from './browser.ts';
import { claimedAppliance } from './claimed.ts';
import { inDatabase } from './in-database.ts';

const LIMIT_MS = 240_000;
/** The appliance looks once a minute. */
const LOOK_MS = 90_000;
let newestId: string;

const here = claimedAppliance(async (claimed) => {
  await putFile(claimed, 'note.txt', 'one of many');
  await addDirectoryTarget(claimed, claimed.appliance.targetDir);
  for (let count = 0; count < 3; count += 1) {
    const { result } = await finishRun(claimed, claimed.call('POST', '/snapshots'));
    newestId = result.snapshotId ?? '';
  }
});

async function look(page: Page, what: string, name: string): Promise<void> {
  await expectAccessibleEverywhere(page, what);
  await takeSights(page, name);
}

it(
  'a snapshot that lost most of its files says so, and retention goes on with the word of an administrator',
  async () => {
    const limits = { shrinkPercent: 30, growthPercent: null, leastFiles: 2, leastBytes: 2 ** 40 };
    await expectStatus(here.call('PUT', '/settings/snapshot-limits', limits), 200);
    await inDatabase(here.appliance, async (client) => {
      await client.query(
        `update snapshots set sources = (
           select jsonb_agg(jsonb_set(one, '{fileCount}', to_jsonb((one ->> 'fileCount')::bigint * 100)))
           from jsonb_array_elements(sources) as one) where id <> $1`,
        [newestId],
      );
      await client.query('update snapshots set judged_at = null where id = $1', [newestId]);
    });
    type Shown = { unusual: object | null };
    await waitFor(
      'the snapshot to be judged',
      async () => (await here.call<Shown>('GET', `/snapshots/${newestId}`)).body.unusual !== null,
      LOOK_MS,
    );

    await here.asOwner('shrunk-snapshot', `/snapshots/${newestId}`, async (page) => {
      await page.getByText('Much less than usual.').waitFor();
      await page.getByText('Retention removes no older snapshot').waitFor();
      await look(page, 'a snapshot that shrank', 'doubts-shrunk');
      await page.getByRole('button', { name: 'This is right' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByText('What is missing in this one may lie only in those').waitFor();
      await dialog
        .getByRole('button', { name: 'It is right' })
        .and(page.locator('[aria-disabled=true]'))
        .waitFor();
      await look(page, 'a word about a snapshot', 'doubts-word');
      await dialog.getByLabel('Why').fill('The archive was moved to another appliance');
      await dialog.getByRole('button', { name: 'It is right' }).click();
      await page
        .getByText(new RegExp(`${OWNER.name} said on .* that this is right: The archive was moved`))
        .waitFor();
      await look(page, 'a snapshot that is right', 'doubts-right');
    });
  },
  LIMIT_MS,
);

it(
  'a run beyond its limit says that the appliance stopped it, and why',
  async () => {
    type Limits = { items: { kind: string }[] };
    const { items } = await expectStatus(here.call<Limits>('GET', '/settings/run-limits'), 200);
    const changed = items.map((one) =>
      one.kind === 'verify' ? { ...one, limitMinutes: 60, stops: true } : one,
    );
    await expectStatus(here.call('PUT', '/settings/run-limits', { items: changed }), 200);
    const id = randomUUID();
    await inDatabase(here.appliance, async (client) => {
      await client.query(
        `insert into runs (id, kind, state, cause, step, created_at, started_at, heartbeat_at, progressed_at)
         values ($1, 'verify', 'running', 'schedule', 'Reading everything back', now() - interval '2 h',
           now() - interval '2 h', now(), now())`,
        [id],
      );
    });

    await here.asOwner('stopped-run', `/runs/${id}`, async (page) => {
      await page.getByText('Stopped by the appliance.').waitFor({ timeout: LOOK_MS });
      await look(page, 'a run that is being stopped', 'doubts-stopping');
      await inDatabase(here.appliance, async (client) => {
        await client.query(`update runs set state = 'cancelled', finished_at = now() where id = $1`, [id]);
      });
      await page.reload();
      await page.getByRole('status').getByText('Cancelled').waitFor();
      await page.getByText('Stopped by the appliance.').waitFor();
      await look(page, 'a run that was stopped', 'doubts-stopped');
    });
  },
  LIMIT_MS,
);
