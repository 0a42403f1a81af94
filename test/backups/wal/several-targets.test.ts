import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bornUntil, openChunkReader, openPoint, openRepository } from '../../../server/backups/index.ts';
import type { PointInTimeStatus, TargetShipping } from '../../../server/backups/wal/schema.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { withAdvisoryLock } from '../../../server/lib/lock.ts';
import { expectStatus } from '../../helpers/appliance.ts';
import {
  addSecondTarget,
  catchUp,
  holdersOf,
  setRule,
  type SecondTarget,
} from '../../helpers/second-target.ts';
import { startStockedAppliance, stock, type StockedAppliance } from '../../helpers/stocked-appliance.ts';
import { waitFor } from '../../helpers/wait-for.ts';
import {
  databaseNow,
  look,
  startShipping,
  switchOn,
  takeAnySnapshot,
  writeLog,
  type Shipping,
} from './shipping.ts';

let appliance: StockedAppliance;
let shipping: Shipping;
let second: SecondTarget;
let place: string;
/** A snapshot that both have, while each gets the log. */
let sharedSnapshot: string;

beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'holdfast-log-'));
  appliance = await startStockedAppliance();
  await stock(appliance);
  await takeAnySnapshot(appliance);
  await switchOn(appliance);
  shipping = await startShipping(appliance);
  await shipping.caughtUp();
  // Lists that only the first target has, so that what is counted for each is not the same on both.
  for (const name of ['one', 'two', 'three']) {
    await appliance.upload(name, Buffer.from(name));
    await shipping.caughtUp();
  }
  second = await addSecondTarget(appliance, 'second');
  await setRule(appliance, 1);
  await takeAnySnapshot(appliance);
  await shipping.caughtUp(second.id);
  await appliance.upload('on both', randomBytes(3_000_000));
  await bothCaughtUp();
  sharedSnapshot = await takeAnySnapshot(appliance);
}, 180_000);

afterAll(async () => {
  await shipping.stop();
  await appliance.close();
  await rm(place, { recursive: true, force: true });
});

async function bothCaughtUp(): Promise<void> {
  await shipping.caughtUp();
  await shipping.caughtUp(second.id);
}

async function show(targetId: string): Promise<TargetShipping | undefined> {
  const { targets } = await expectStatus(
    appliance.owner.call<PointInTimeStatus>('GET', '/point-in-time'),
    200,
  );
  return targets.find((one) => one.targetId === targetId);
}

let opened = 0;

/** A moment as the kit restores it from one target alone. @returns which of these stored files are there, and whole */
async function restoredAt(path: string, at: Date, wanted: ReadonlyMap<string, string>): Promise<string[]> {
  opened += 1;
  const to = join(place, `files-${String(opened)}`);
  const { identity, repositoryId, trustRoot } = appliance.kit;
  const repository = await openRepository({
    target: { kind: 'directory', path },
    keys: { identity, repositoryId, trustRoot: Buffer.from(trustRoot, 'base64') },
    cataloguePath: join(place, `kit-${String(opened)}.sqlite`),
  });
  try {
    const point = await openPoint(repository, { kind: 'time', at });
    const born = await bornUntil(repository, point);
    const stored = point.snapshot.sections.filter(({ name }) => name === 'files');
    const { target, keys, catalogue } = repository;
    const reader = await openChunkReader({ target: target.config, generations: keys.generations, catalogue });
    try {
      for (const section of [...stored, ...born]) {
        await reader.restoreSection(section, to, { existing: 'replace', clock: systemClock });
      }
    } finally {
      await reader.close();
    }
  } finally {
    await repository.close();
  }
  const whole: string[] = [];
  for (const [id, sha256] of wanted) {
    const bytes = await readFile(join(to, id.slice(0, 2), id)).catch(() => Buffer.alloc(0));
    if (createHash('sha256').update(bytes).digest('hex') === sha256) whole.push(id);
  }
  return whole;
}

/** Hashes of the stored files that the database names now. */
async function namedFiles(): Promise<Map<string, string>> {
  const rows = await appliance.deps.db
    .selectFrom('file_versions')
    .select(['content_id', 'stored_sha256'])
    .execute();
  return new Map(rows.map((row) => [row.content_id, row.stored_sha256.toString('hex')]));
}

test('lists of new files are numbered once for all targets', async () => {
  const onFirst = look(appliance, (view) => view.born(appliance.targetId).map((one) => one.number)) ?? [];
  const onSecond = look(appliance, (view) => view.born(second.id).map((one) => one.number)) ?? [];

  expect(onFirst.length).toBeGreaterThanOrEqual(4);
  expect(onSecond.length).toBeGreaterThanOrEqual(1);
  expect(new Set([...onFirst, ...onSecond]).size).toBe(onFirst.length + onSecond.length);
  expect(Math.max(...onFirst, ...onSecond)).toBe(look(appliance, (view) => view.lastBorn()));
});

test('a file that both targets got with the log is not sent again with the copy of the snapshot', async () => {
  expect(await holdersOf(appliance, sharedSnapshot)).toEqual([appliance.targetId, second.id]);

  const copied = await appliance.deps.db
    .selectFrom('audit_entries')
    .select('detail')
    .where('action', '=', 'backups.snapshot.copied')
    .where('object_id', '=', sharedSnapshot)
    .executeTakeFirstOrThrow();
  expect((copied.detail as { bytes: number }).bytes).toBeLessThan(3_000_000);
});

test('a moment after a copied snapshot is restored whole from either target', async () => {
  await appliance.upload('after the copy', Buffer.from('after the copy'));
  await bothCaughtUp();
  const moment = await databaseNow(appliance);
  const wanted = await namedFiles();
  await appliance.upload('too late', Buffer.from('too late'));
  await bothCaughtUp();

  expect(await restoredAt(appliance.targetPath, moment, wanted)).toEqual([...wanted.keys()]);
  expect(await restoredAt(second.path, moment, wanted)).toEqual([...wanted.keys()]);
}, 60_000);

test('a snapshot that was caught up opens no moment where the log has a gap, and each target says so', async () => {
  await second.away();
  await switchOn(appliance, { pile_limit_bytes: 64 * 1024 ** 2 });
  await waitFor('the second target to be missed', () =>
    look(appliance, (view) => view.reports().get(second.id)?.state === 'away'),
  );
  await writeLog(appliance, 80);
  await waitFor('it to be given up', () => look(appliance, (view) => view.find(second.id)?.timeline === 0));
  await switchOn(appliance, { pile_limit_bytes: null });
  await takeAnySnapshot(appliance);
  await appliance.upload('in the gap', Buffer.from('in the gap'));
  await shipping.caughtUp();
  const inTheGap = await databaseNow(appliance);
  const wanted = await namedFiles();
  await appliance.upload('still in the gap', Buffer.from('still in the gap'));
  await shipping.caughtUp();
  await second.back();
  await waitFor('it to be shipped to again', () =>
    look(appliance, (view) => (view.find(second.id)?.timeline ?? 0) !== 0 || undefined),
  );
  await catchUp(appliance);

  const [first, other] = [await show(appliance.targetId), await show(second.id)];

  const holds = (target: TargetShipping | undefined) =>
    target?.windows.some(({ from, to }) => new Date(from) <= inTheGap && inTheGap <= new Date(to));
  expect(holds(first)).toBe(true);
  expect(holds(other)).toBe(false);
  expect(other).toMatchObject({ needsBase: true });
  expect(await restoredAt(appliance.targetPath, inTheGap, wanted)).toEqual([...wanted.keys()]);
  await expect(restoredAt(second.path, inTheGap, wanted)).rejects.toMatchObject({ code: 'not_found' });
  const refused = await appliance.owner.call<{ error: { hint: string } }>(
    'POST',
    '/restore-tests/point-in-time',
    { targetId: second.id, time: inTheGap.toISOString(), mode: 'quick' },
  );
  expect(refused).toMatchObject({
    status: 404,
    body: { error: { hint: expect.stringContaining('can be restored from copy') as string } },
  });
}, 90_000);

test('a target that takes the log too slowly is given up before PostgreSQL gives up that of all', async () => {
  const counted = () =>
    appliance.deps.db
      .selectFrom('wal_gaps')
      .select(({ fn }) => fn.countAll<string>().as('count'))
      .where('target_id', '=', appliance.targetId)
      .executeTakeFirstOrThrow();
  const before = Number((await counted()).count);
  const { start } = await shipping.caughtUp();
  await switchOn(appliance, { pile_limit_bytes: 64 * 1024 ** 2 });
  // Whoever collects deleted files keeps new ones from being sent: its round stands still.
  await withAdvisoryLock(appliance.deps.db, 'fileCollection', async () => {
    await appliance.upload('waits', Buffer.from('waits'));
    await writeLog(appliance, 90);
    await waitFor('it to begin anew', () =>
      look(appliance, (view) => view.find(appliance.targetId)?.start !== start),
    );
  });
  await switchOn(appliance, { pile_limit_bytes: null });
  await shipping.caughtUp();

  expect(Number((await counted()).count)).toBe(before + 1);
}, 90_000);
