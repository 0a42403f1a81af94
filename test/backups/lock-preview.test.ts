/** What the preview of a policy says of the lock of its target: how much of what is freed stays, until when, and what follows the policy. */
import { randomBytes } from 'node:crypto';
import type { Static } from 'typebox';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { openCatalogue } from '../../server/backups/catalogue/open-catalogue.ts';
import type { Catalogue } from '../../server/backups/catalogue/catalogue.ts';
import { packName } from '../../server/backups/objects/object-names.ts';
import { getTarget } from '../../server/backups/queries.ts';
import { KEEP_NOTHING_MORE } from '../../server/backups/retention/policy-words.ts';
import type { RetentionPreview } from '../../server/backups/retention/schema.ts';
import { cataloguePath } from '../../server/backups/target-repository.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { startStockedAppliance, type StockedAppliance } from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const DAY_MS = 86_400_000;
let appliance: StockedAppliance;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  for (const name of ['one', 'two', 'three']) {
    await appliance.upload(`${name}.bin`, randomBytes(200_000));
    await appliance.takeSnapshot();
  }
});
afterAll(() => appliance.close());

const preview = async () =>
  expectStatus(
    appliance.owner.call<Static<typeof RetentionPreview>>(
      'POST',
      `/targets/${appliance.targetId}/retention/preview`,
      { policy: KEEP_NOTHING_MORE },
    ),
    200,
  );

/** From now on the target is taken for a bucket with such a lock; nothing is sent there. */
async function lockAs(lock: object): Promise<void> {
  await appliance.deps.db
    .updateTable('targets')
    .set({ kind: 's3', settings: JSON.stringify({ role: true, lock }) })
    .where('id', '=', appliance.targetId)
    .execute();
}

async function inCatalogue(act: (catalogue: Catalogue) => void): Promise<void> {
  const { deps, dataDir, targetId } = appliance;
  const target = await getTarget(deps.db, targetId);
  const { repository } = await deps.keys.status();
  const id = repository.repositoryId ?? '';
  const { catalogue, isNew } = openCatalogue(cataloguePath(dataDir, id, target), id);
  expect(isNew).toBe(false);
  act(catalogue);
  catalogue.close();
}

const daysFromNow = (days: number) => new Date(appliance.clock.now().getTime() + days * DAY_MS);

test('of a target that locks nothing, nothing is said', async () => {
  const said = await preview();

  expect(said).toMatchObject({ removes: 2, reclaim: { exact: true }, lock: null });
  expect(said.reclaim.bytes).toBeGreaterThan(0);
});

test('what the lock keeps of the freed bytes is told with the end of the last lock', async () => {
  await lockAs({ mode: 'governance', days: 30 });
  const [end, later] = [daysFromNow(20), daysFromNow(25)];
  await inCatalogue((catalogue) => {
    for (const pack of catalogue.packs()) catalogue.noteLock(packName(pack.id), end);
    catalogue.noteLock('keys/1', later);
  });

  const { lock, reclaim } = await preview();

  expect(lock).toEqual({
    ...{ mode: 'governance', days: 30, daysThen: 30 },
    ...{ heldBytes: reclaim.bytes, heldUntil: end.toISOString(), exact: true },
  });
});

test('where it is not known of all, the longest that it can be is told', async () => {
  await inCatalogue((catalogue) => catalogue.forgetLocks(new Set()));

  const { lock, reclaim } = await preview();

  expect(lock).toMatchObject({ heldBytes: reclaim.bytes, exact: false });
  // Thirty days and a quarter.
  expect(Math.abs(Date.parse(lock?.heldUntil ?? '') - daysFromNow(38).getTime())).toBeLessThan(60_000);
});

test('a lock that ends before prune deletes anything holds nothing', async () => {
  await inCatalogue((catalogue) => {
    for (const pack of catalogue.packs()) catalogue.noteLock(packName(pack.id), daysFromNow(0.5));
  });

  expect((await preview()).lock).toMatchObject({ heldBytes: 0, heldUntil: null, exact: true });
});

test('a lock that follows the policy says what it would be under the drafted one', async () => {
  await lockAs({ mode: 'compliance', days: 1, followsPolicy: true });

  expect((await preview()).lock).toMatchObject({ mode: 'compliance', days: 365, daysThen: 1 });
});
