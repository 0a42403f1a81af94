/** Several targets: each gets every snapshot as it is, one that is away lags and is caught up, and the first that can be written to leads. */
import { execFile } from 'node:child_process';
import { renameSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { randomBytes, randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { checkForAlerts } from '../../server/appliance/index.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { withAdvisoryLock } from '../../server/lib/lock.ts';
import { expectStatus } from '../helpers/appliance.ts';
import { atNext } from '../helpers/at-next.ts';
import {
  addSecondTarget,
  catchUp,
  diskOf,
  holdersOf,
  objectsIn,
  requestCopy,
  restoreByKit,
  setRule,
  showSnapshot,
  showTarget,
  trySnapshot,
  verifyByKit,
  type SecondTarget,
} from '../helpers/second-target.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../helpers/stocked-appliance.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let appliance: StockedAppliance;
let second: SecondTarget;

beforeAll(async () => {
  appliance = await startStockedAppliance();
  await stock(appliance);
  await appliance.takeSnapshot();
  second = await addSecondTarget(appliance, 'second');
});
afterAll(() => appliance.close());

const more = () => appliance.upload(`${randomUUID()}.bin`, randomBytes(300_000));

/** As if the last try had been so much earlier. */
async function waited(minutes: number): Promise<void> {
  await appliance.deps.db
    .updateTable('targets')
    .set({ copy_tried_at: sql`copy_tried_at - make_interval(mins => ${minutes})` })
    .execute();
}

describe('a second target', () => {
  test('lags until it is caught up, by a run of its own that says how far it is', async () => {
    const before = await showTarget(appliance, second.id);
    expect(before.copies).toMatchObject({ state: 'behind', behind: 1, snapshots: 0, newest: null });
    expect(before.position).toBe(2);

    const run = await catchUp(appliance);

    expect(run).toMatchObject({ kind: 'copy', state: 'succeeded', result: { copied: 1, left: 0 } });
    const last = run?.reports.at(-1);
    expect(last?.bytesDone).toBeGreaterThan(0);
    expect(last?.bytesPerSecond).toBeGreaterThan(0);
    expect((await showTarget(appliance, second.id)).copies).toMatchObject({
      ...{ state: 'up-to-date', behind: 0, snapshots: 1, sizeExact: true },
    });
    expect(await verifyByKit(appliance, second.path)).toEqual([1]);
    expect(await catchUp(appliance)).toBeUndefined();
  });

  test('gets each snapshot as it is: the same object, the same packs, a chain of heads of its own', async () => {
    await more();
    const id = await appliance.takeSnapshot();

    expect(await holdersOf(appliance, id)).toEqual([appliance.targetId, second.id]);
    for (const kind of ['snapshots', 'packs']) {
      expect(await objectsIn(second.path, kind)).toEqual(await objectsIn(appliance.targetPath, kind));
    }
    const heads = await Promise.all(
      [appliance.targetPath, second.path].map((path) => objectsIn(path, 'heads')),
    );
    expect(heads[0]?.filter((name) => heads[1]?.includes(name))).toEqual([]);
    expect(await verifyByKit(appliance, second.path)).toEqual([1, 2]);
  });

  test('is enough to get every file back with the kit, byte for byte', async () => {
    const id = await appliance.takeSnapshot();
    const to = join(dirname(appliance.targetPath), 'back');
    await mkdir(to);

    await restoreByKit(appliance, { path: second.path, snapshotId: id, to });

    const { stdout } = await promisify(execFile)('diff', ['-rs', dataPaths(appliance.dataDir).files, to]);
    expect(stdout.split('\n').filter((line) => line.endsWith('are identical')).length).toBeGreaterThan(3);
    expect(stdout).not.toContain('Only in');
    await rm(to, { recursive: true });
  });

  test('is refused in the place of another, also by another path', async () => {
    const link = join(dirname(appliance.targetPath), 'by-link');
    await promisify(execFile)('ln', ['-s', second.path, link]);
    for (const path of [second.path, link]) {
      const reply = await appliance.owner.call('POST', '/targets', {
        ...{ name: 'third', kind: 'directory', path, region: 'eu-north' },
      });
      expect(reply).toMatchObject({ status: 409, body: { error: { code: 'conflict' } } });
    }
  });
});

describe('a target that is away', () => {
  test('does not stop a snapshot: the run is partial and names it, until the rule says that one is enough', async () => {
    await second.away();
    await more();

    const run = await trySnapshot(appliance);

    expect(run).toMatchObject({
      state: 'partial',
      error: { message: 'The snapshot is on 1 of 2 targets, and has to be on 2' },
      result: { have: 1, needed: 2 },
    });
    expect(run.error?.hint).toContain('second: ');
    expect((await showTarget(appliance, second.id)).copies).toMatchObject({
      ...{ state: 'away', behind: 1, problem: { code: 'unavailable' } },
    });
    expect(await setRule(appliance, 1)).toMatchObject({
      needed: 1,
      words: 'A snapshot is stored when 1 of the 2 targets has it.',
    });
    expect(await trySnapshot(appliance)).toMatchObject({
      state: 'succeeded',
      result: { have: 1, needed: 1 },
    });
    await setRule(appliance, null);
  });

  test('is tried again after ever longer waits, then gets what it lacks, the oldest first', async () => {
    expect(await catchUp(appliance)).toBeUndefined();
    await waited(11);
    expect(await catchUp(appliance)).toMatchObject({ state: 'failed', error: { code: 'unavailable' } });
    await waited(11);
    expect(await catchUp(appliance)).toBeUndefined();
    await second.back();
    await waited(10);

    const run = await catchUp(appliance);

    expect(run).toMatchObject({ state: 'succeeded', result: { copied: 2 } });
    const numbers = await verifyByKit(appliance, second.path);
    expect(numbers).toEqual(await verifyByKit(appliance, appliance.targetPath));
    const copied = run?.lines.filter((line) => line.includes('lies on second'));
    expect(copied?.map((line) => Number(/Snapshot (\d+)/.exec(line)?.[1]))).toEqual(numbers.slice(-2));
    expect((await showTarget(appliance, second.id)).lastError).toBeNull();
  });

  test('and is the first: the next one leads, under a number that the first never had', async () => {
    const first = diskOf(appliance.targetPath);
    await first.away();
    await more();

    const run = await trySnapshot(appliance);
    await first.back();

    expect(run).toMatchObject({ state: 'partial', result: { targetId: second.id, have: 1 } });
    expect(run.lines.find((line) => line.includes('cannot lead'))).toContain(
      'copy cannot lead this snapshot',
    );
    const id = String(run.result?.snapshotId);
    expect(await holdersOf(appliance, id)).toEqual([second.id]);
    const caught = await catchUp(appliance);
    expect(caught).toMatchObject({ state: 'succeeded', result: { targetId: appliance.targetId, copied: 1 } });
    expect(await verifyByKit(appliance, appliance.targetPath)).toEqual(
      await verifyByKit(appliance, second.path),
    );
    await appliance.takeSnapshot();
    expect(new Set(await verifyByKit(appliance, second.path)).size).toBe(
      (await verifyByKit(appliance, second.path)).length,
    );
  });
});

test.each([0, 1])(
  'other work on target %i is no failure of it: the snapshot is on the other, and comes to it later',
  async (which) => {
    const busy = which === 0 ? appliance.targetId : second.id;
    const run = await withAdvisoryLock(appliance.deps.db, 'targetWork', () => trySnapshot(appliance), {
      of: busy,
    });

    expect(run).toMatchObject({ state: 'partial', result: { have: 1 } });
    expect(run?.result?.targets).toContainEqual(expect.objectContaining({ id: busy, state: 'later' }));
    expect(await showTarget(appliance, busy)).toMatchObject({ lastError: null, copies: { problem: null } });
    const refused = await withAdvisoryLock(appliance.deps.db, 'targetWork', () => catchUp(appliance), {
      of: busy,
    });
    expect(refused).toMatchObject({ state: 'failed', error: { code: 'locked' } });
    expect(await showTarget(appliance, busy)).toMatchObject({ lastError: null, copies: { problem: null } });
    expect(await catchUp(appliance)).toMatchObject({ state: 'succeeded', result: { copied: 1 } });
  },
);

const hold = async (name: 'repositoryWork' | 'targetWork', of?: string) => {
  const released = Promise.withResolvers<undefined>();
  const held = Promise.withResolvers<undefined>();
  const holding = withAdvisoryLock(
    appliance.deps.db,
    name,
    () => {
      held.resolve(undefined);
      return released.promise;
    },
    of === undefined ? {} : { of },
  );
  await held.promise;
  return async () => {
    released.resolve(undefined);
    await holding;
  };
};

describe('a snapshot that is asked for while other work is under way', () => {
  const begin = async (signal?: AbortSignal) => {
    await expectStatus(appliance.owner.call('POST', '/snapshots'), 202);
    return appliance.performRun(signal);
  };
  const waits = (run: { lines: string[] }) =>
    run.lines.some((line) => line.includes('begins when it has ended'));

  test('waits for its turn, and can be cancelled while it does', async () => {
    const release = await hold('repositoryWork');
    const cancel = new AbortController();
    setTimeout(() => cancel.abort(), 700);
    const cancelled = await begin(cancel.signal);
    expect(waits(cancelled)).toBe(true);
    expect(cancelled.state).toBe('cancelled');

    setTimeout(() => void release(), 700);
    const run = await begin();
    expect(waits(run)).toBe(true);
    expect(run.state).toBe('succeeded');
    expect(await showTarget(appliance, appliance.targetId)).toMatchObject({ lastError: null });
  });

  test('waits for a target when all are busy', async () => {
    const first = await hold('targetWork', appliance.targetId);
    const other = await hold('targetWork', second.id);
    setTimeout(() => void first().then(other), 700);

    const run = await begin();

    expect(waits(run)).toBe(true);
    expect(['succeeded', 'partial']).toContain(run.state);
    expect(run.result).toMatchObject({ targetId: appliance.targetId });
  });
});

describe('a source that goes away', () => {
  test('in the middle of a copy is blamed, and not the target that lacks the snapshot', async () => {
    await second.away();
    await more();
    expect(await trySnapshot(appliance)).toMatchObject({ state: 'partial' });
    await second.back();
    await appliance.deps.db.updateTable('targets').set({ last_error: null, copy_problem: null }).execute();
    await requestCopy(appliance, second.id);
    const gone = `${appliance.targetPath}-gone`;
    atNext('backups.copy.pack.verified', () => renameSync(appliance.targetPath, gone));

    const run = await appliance.performRun();
    renameSync(gone, appliance.targetPath);

    expect(run).toMatchObject({
      state: 'failed',
      error: { code: 'unavailable', message: expect.stringContaining('copy cannot be read from') as string },
    });
    expect((await showTarget(appliance, appliance.targetId)).lastError).toMatchObject({
      code: 'unavailable',
    });
    const lacking = await showTarget(appliance, second.id);
    expect(lacking).toMatchObject({ lastError: null, copies: { state: 'behind', behind: 1 } });
    expect(lacking.copies.problem?.message).toContain('copy cannot be read from');
    const bad = (await checkForAlerts(appliance.deps)).filter(({ state }) => state === 'bad');
    expect(bad.map(({ name }) => name)).toContain('target copy');
    expect(bad.map(({ name }) => name)).not.toContain('target second');
    await requestCopy(appliance, second.id);
    expect(await appliance.performRun()).toMatchObject({ state: 'succeeded', result: { copied: 1 } });
  });
});

describe('what a snapshot needs', () => {
  test('is not copied on when it is damaged: the pack is named, the run partial, and a whole source heals it', async () => {
    await second.away();
    await more();
    const before = new Set(await objectsIn(appliance.targetPath, 'packs'));
    const run = await trySnapshot(appliance);
    expect(run.state).toBe('partial');
    await second.back();
    const id = String(run.result?.snapshotId);
    const fresh = (await objectsIn(appliance.targetPath, 'packs')).filter((name) => !before.has(name));
    const [name = ''] = fresh;
    const file = join(appliance.targetPath, 'packs', name.slice(0, 2), name);
    const whole = await readFile(file);
    const broken = Buffer.from(whole);
    broken[broken.length - 1] = (broken.at(-1) ?? 0) ^ 1;
    await rm(file);
    await writeFile(file, broken);

    await requestCopy(appliance, second.id);
    const refused = await appliance.performRun();

    expect(refused).toMatchObject({
      state: 'failed',
      error: { code: 'integrity_failure' },
      result: { left: 1 },
    });
    expect(refused.error?.message).toContain(name.slice(0, 64));
    expect(await holdersOf(appliance, id)).toEqual([appliance.targetId]);
    const there = await objectsIn(second.path, 'packs');
    expect(there).not.toContain(name);
    await rm(file);
    await writeFile(file, whole);
    await requestCopy(appliance, second.id);
    expect(await appliance.performRun()).toMatchObject({ state: 'succeeded', result: { copied: 1 } });
    expect(await verifyByKit(appliance, second.path)).toContain(
      Number((await showSnapshot(appliance, id)).number),
    );
  });
});

describe('each target', () => {
  test('is forgotten from by itself, verified and pruned by itself', async () => {
    const id = await appliance.takeSnapshot();
    await expectStatus(appliance.owner.call('DELETE', `/snapshots/${id}?targetId=${second.id}`), 202);

    expect(await appliance.performRun()).toMatchObject({ state: 'succeeded' });

    expect(await holdersOf(appliance, id)).toEqual([appliance.targetId]);
    expect(await showSnapshot(appliance, id)).toMatchObject({ state: 'stored' });
    // What was forgotten on it is never brought there again.
    expect(await catchUp(appliance)).toBeUndefined();
    await expectStatus(appliance.owner.call('DELETE', `/snapshots/${id}`), 202);
    await appliance.performRun();
    expect(await showSnapshot(appliance, id)).toMatchObject({ state: 'forgotten' });

    await expectStatus(appliance.owner.call('POST', `/targets/${second.id}/verify`), 202);
    expect(await appliance.performRun()).toMatchObject({
      state: 'succeeded',
      result: { targetId: second.id },
    });
    await diskOf(appliance.targetPath).away();
    await expectStatus(appliance.owner.call('POST', '/targets/verify'), 202);
    const run = await appliance.performRun();
    await diskOf(appliance.targetPath).back();
    expect(run).toMatchObject({
      state: 'partial',
      result: { targets: [{ state: 'failed', code: 'unavailable' }, { state: 'succeeded' }] },
    });
  });
});
