/** Logs and configuration with a time of their own: snapshots reduced to them, and without them, from the routes to the bytes on targets. */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { sql } from 'kysely';
import type { Static } from 'typebox';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { openChunkReader, openFoundRepository } from '../../server/backups/index.ts';
import type { RetentionRules } from '../../server/backups/retention/policy.ts';
import type { RetentionPreview } from '../../server/backups/retention/schema.ts';
import { requireFit } from '../../server/backups/schema-fit.ts';
import { expectStatus } from '../helpers/appliance.ts';
import {
  addSecondTarget,
  holdersOf,
  queueDueCopy,
  showSnapshot,
  verifyByKit,
  withKit,
} from '../helpers/second-target.ts';
import {
  killRunAt,
  queueScheduledRun,
  startStockedAppliance,
  type StockedAppliance,
} from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 });

const UPLOAD_BYTES = 300_000;
const RULES: RetentionRules = {
  kind: 'rules',
  ...{ last: 3, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, withinDays: 0 },
  ...{ minimumCount: 1, maximumAgeDays: null, partsDays: 30, timeZone: 'UTC' },
};
type Preview = Static<typeof RetentionPreview>;

let appliance: StockedAppliance;
/** As on the machine image: the folder of the section `system`. */
let systemDir: string;
let url: string;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  systemDir = await mkdtemp(join(dirname(appliance.targetPath), 'system-'));
  Object.assign(appliance.deps, { systemDir });
  url = `/targets/${appliance.targetId}/retention`;
});
afterAll(() => appliance.close());

async function take(): Promise<string> {
  await writeFile(join(systemDir, 'journal.txt'), randomUUID());
  await appliance.upload(`${randomUUID()}.bin`, randomBytes(UPLOAD_BYTES));
  return appliance.takeSnapshot();
}

async function takeMany(count: number): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) ids.push(await take());
  return ids;
}

const preview = (policy: RetentionRules) =>
  expectStatus(appliance.owner.call<Preview>('POST', `${url}/preview`, { policy }), 200);
const save = (policy: object) => expectStatus(appliance.owner.call('PUT', url, { policy }), 200);
const queue = () => expectStatus(appliance.owner.call('POST', `${url}/apply`), 202);
async function apply() {
  await queue();
  return appliance.performRun();
}
async function age(id: string, days: number): Promise<void> {
  await sql`update snapshots set taken_at = taken_at - make_interval(days => ${days}::int) where id = ${id}`.execute(
    appliance.deps.db,
  );
}
const told = (action: string, id: string) =>
  appliance.deps.db
    .selectFrom('audit_entries')
    .select('detail')
    .where('action', '=', action)
    .where('object_id', '=', id)
    .execute();
const expiredOf = async (id: string, targetId = appliance.targetId) =>
  (await showSnapshot(appliance, id)).targets.find((one) => one.id === targetId);

/** As the schedule does; also of a target without rules. */
async function prune(targetId: string) {
  await queueScheduledRun(appliance, 'prune', { policy: true, targetId });
  return appliance.performRun();
}

async function expectWhole(): Promise<void> {
  await expectStatus(appliance.owner.call('POST', '/targets/verify'), 202);
  expect(await appliance.performRun()).toMatchObject({ state: 'succeeded' });
}

describe('a policy with a time for logs and configuration', () => {
  let ids: string[];

  test('is refused beyond the maximum age, previewed with the reason of each, and asks when it takes most', async () => {
    ids = await takeMany(5);

    const wrong = await appliance.owner.call('PUT', url, { policy: { ...RULES, maximumAgeDays: 20 } });
    expect(wrong).toMatchObject({ status: 400, body: { error: { code: 'invalid_input' } } });
    const most = await preview({ ...RULES, last: 1 });
    expect(most).toMatchObject({ removes: 4, reduces: 4, asks: 'It would remove 4 of 5 snapshots at once' });
    const shown = await preview(RULES);

    expect(shown).toMatchObject({ total: 5, removes: 2, reduces: 2, keeps: 3, partsGo: 0, hasLogs: true });
    expect(shown).toMatchObject({ asks: null, reclaim: { exact: true } });
    const oldest = shown.items.at(-1);
    const until = oldest?.reducedUntil?.slice(0, 10);
    expect(oldest).toMatchObject({
      ...{ id: ids[0], keep: false, leftover: false },
      reasons: ['no rule keeps it', `reduced to logs and configuration until ${until}`],
    });
    expect(shown.items.filter((one) => one.reducedUntil !== null).map((one) => one.id)).toEqual([
      ids[1],
      ids[0],
    ]);
  });

  test('reduces what the rules would remove: the large parts go and are freed, the small ones come back by the kit', async () => {
    await save(RULES);

    expect((await apply()).result).toMatchObject({ forgotten: 0, reduced: 2 });
    const [reduced = '', another = ''] = ids;
    expect(await showSnapshot(appliance, reduced)).toMatchObject({
      state: 'forgotten',
      targets: [{ state: 'reduced', expired: [{ sections: ['database', 'files'] }] }],
    });
    for (const id of [reduced, another]) expect(await told('backups.snapshot.reduced', id)).toHaveLength(1);
    await expectWhole();
    expect(await verifyByKit(appliance, appliance.targetPath)).toEqual([1, 2, 3, 4, 5]);

    const to = join(dirname(appliance.targetPath), 'system-back');
    await mkdir(to);
    await withKit(appliance.kit, appliance.targetPath, async (repository) => {
      const record = await repository.findSnapshot(reduced);
      expect(record.sections.map((one) => one.name)).toEqual(['appliance', 'system']);
      await expect(requireFit(record)).rejects.toMatchObject({
        code: 'wrong_state',
        message: expect.stringMatching(
          /"database" is kept no more since .*: no rule keeps it; reduced to/,
        ) as string,
      });
      const { target, keys, catalogue } = repository;
      const reader = await openChunkReader({
        target: target.config,
        generations: keys.generations,
        catalogue,
      });
      const [, system] = record.sections;
      if (system === undefined) throw new Error('no system');
      await reader.restoreSection(system, to, {
        signal: new AbortController().signal,
        clock: appliance.clock,
      });
      await reader.close();
    });
    expect((await readFile(join(to, 'journal.txt'), 'utf8')).length).toBe(36);
  });

  test('lets a reduced one be restored by nobody, in plain words, and shows recoveries why', async () => {
    const [reduced = ''] = ids;
    const refused = {
      error: {
        message: expect.stringMatching(
          /^Of this snapshot only logs and configuration are kept \(copy\) since/,
        ) as string,
      },
    };

    expect(await appliance.owner.call('GET', `/snapshots/${reduced}/content`)).toMatchObject({
      status: 409,
      body: refused,
    });
    expect((await appliance.owner.call('PUT', `/snapshots/${reduced}/hold`, { reason: 'x' })).status).toBe(
      409,
    );
    const { identity, repositoryId, trustRoot } = appliance.kit;
    const cataloguePath = join(dirname(appliance.targetPath), 'found.sqlite');
    const found = await openFoundRepository(
      { kind: 'directory', path: appliance.targetPath },
      { ageIdentity: identity, repositoryId, trustRoot },
      cataloguePath,
    );
    await rm(cataloguePath);
    expect(found.snapshots.find((one) => one.id === reduced)).toMatchObject({
      ...{ starts: false, fit: expect.stringContaining('is kept no more since') as string },
    });
    expect(found.snapshots.filter((one) => one.starts)).toHaveLength(3);
  });

  test('lets what is left go when its days are over, and logs and configuration alone of one that stays', async () => {
    const [first = '', second = '', third = '', fourth = ''] = ids;
    await age(first, 31);
    expect((await apply()).result).toMatchObject({ forgotten: 1 });
    expect(await expiredOf(first)).toMatchObject({ state: 'forgotten' });
    expect(await expiredOf(second)).toMatchObject({ state: 'reduced' });

    await age(third, 31);
    expect((await preview(RULES)).items.find((one) => one.id === third)).toMatchObject({
      keep: true,
      losesLogs: true,
    });
    expect((await apply()).result).toMatchObject({ forgotten: 0, reduced: 1 });

    expect(await expiredOf(third)).toMatchObject({ state: 'stored', expired: [{ sections: ['system'] }] });
    expect(await expiredOf(fourth)).toMatchObject({ state: 'stored', expired: [] });
    expect(await holdersOf(appliance, third)).toEqual([appliance.targetId]);
    await expectWhole();
    expect(await verifyByKit(appliance, appliance.targetPath)).toEqual([2, 3, 4, 5]);
  });

  test('that would take most logs and configuration asks, although the snapshots stay', async () => {
    await save({ ...RULES, last: 9 });
    const [, , , fourth = '', fifth = ''] = ids;
    for (const id of [fourth, fifth]) await age(id, 10);
    await take();

    expect(await preview({ ...RULES, last: 9, partsDays: 5 })).toMatchObject({
      ...{ removes: 0, partsGo: 2 },
      asks: expect.stringMatching(
        /^It would remove the logs and configuration of \d+ of the \d+ snapshots/,
      ) as string,
    });
  });
});

describe('a process that is killed while it reduces', () => {
  test.each(['backups.forget.noted', 'backups.forget.published', 'backups.forget.recorded'])(
    'at %s leaves it to the next run, whole and told once',
    async (point) => {
      await save({ ...RULES, last: 9 });
      await takeMany(5);
      const whole = (await preview(RULES)).items.filter((one) => !one.leftover);
      // The oldest that has everything, and young, so that it is reduced.
      let at = whole.length - 1;
      const idAt = () => whole[at]?.id ?? '';
      while (((await expiredOf(idAt()))?.expired.length ?? 0) > 0) at -= 1;
      const oldest = idAt();
      await sql`update snapshots set taken_at = now() where id = ${oldest}`.execute(appliance.deps.db);
      await save({ ...RULES, last: at });
      await queue();

      expect(await killRunAt(appliance, point)).toMatchObject({ signal: 'SIGKILL' });

      expect(await apply()).toMatchObject({ state: 'succeeded' });
      const place = await expiredOf(oldest);
      expect(place?.state).toBe('reduced');
      expect(place?.expired[0]).toMatchObject({ sections: ['database', 'files'] });
      expect(await told('backups.snapshot.reduced', oldest)).toHaveLength(1);
      const { forgetting } = await appliance.deps.db
        .selectFrom('snapshot_targets')
        .select('forgetting')
        .where('snapshot_id', '=', oldest)
        .executeTakeFirstOrThrow();
      expect(forgetting).toBeNull();
      await expectWhole();
    },
  );
});

describe('two targets with different policies', () => {
  test('each keep what theirs says: one reduces, the other has it whole, and nothing is copied back', async () => {
    await save({ ...RULES, last: 9 });
    const second = await addSecondTarget(appliance, 'second');
    const ids = await takeMany(4);
    const [id = ''] = ids;
    const { items } = await preview({ ...RULES, last: 3 });
    expect(items.find((one) => one.id === id)).toMatchObject({ keep: false });
    // In steps that need nobody else.
    for (let last = items.filter((one) => !one.leftover).length - 1; last >= 3; last -= 1) {
      await appliance.deps.db.updateTable('target_retention').set({ baseline_at: null }).execute();
      await save({ ...RULES, last });
      expect(await apply()).toMatchObject({ state: 'succeeded', error: null });
    }

    expect((await expiredOf(id))?.state).toBe('reduced');
    expect(await holdersOf(appliance, id)).toEqual([second.id]);
    expect(await showSnapshot(appliance, id)).toMatchObject({ state: 'stored' });
    expect(await queueDueCopy(appliance)).toBe(false);
    for (const targetId of [appliance.targetId, second.id])
      expect(await prune(targetId)).toMatchObject({ state: 'succeeded', result: { missingChunks: 0 } });
    for (const path of [appliance.targetPath, second.path])
      expect((await verifyByKit(appliance, path)).length).toBeGreaterThan(3);
  });
});
