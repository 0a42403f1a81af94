/** What people ask of an update while it is being installed: the words of both sides stay. */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { hostPlaces } from '../../../server/appliance/host/host-places.ts';
import { openJournal } from '../../../server/appliance/host/journal.ts';
import type { Rauc } from '../../../server/appliance/host/updates/rauc.ts';
import { openUpdates, type Updates } from '../../../server/appliance/host/updates/updates.ts';
import { systemClock } from '../../../server/lib/clock.ts';
import { writeFileDurably } from '../../../server/lib/files.ts';
import { createLog } from '../../../server/lib/log.ts';
import { waitFor } from '../../helpers/wait-for.ts';
import { startBundleMaker, type BundleMaker } from './bundle-maker.ts';
import { FRESH, readMemory, slotEngine, writeMemory } from './machine-with-slots.ts';

const actor = { kind: 'console' as const, label: 'test' };
const skipReason = 'the data are looked at elsewhere';

let maker: BundleMaker;
beforeAll(async () => {
  maker = await startBundleMaker();
});
afterAll(() => maker.dispose());

describe('while an update is being installed', () => {
  let top: string;
  let updates: Updates;
  let sha256: string;
  let restarts: number;
  let finishWriting: () => void;
  let report: (progress: number) => void;

  beforeEach(async () => {
    top = await mkdtemp(join(tmpdir(), 'holdfast-test-updates-'));
    const places = hostPlaces(top);
    await writeMemory(top, FRESH);
    await mkdir(join(top, 'etc', 'holdfast'), { recursive: true });
    await writeFileDurably(places.imageFile, JSON.stringify({ product: 'holdfast', version: '1.0.0' }));
    const engine = slotEngine(top, 'A', maker.reader, '2.0.0');
    const written = Promise.withResolvers<undefined>();
    finishWriting = () => written.resolve(undefined);
    report = () => undefined;
    const rauc: Rauc = {
      ...engine,
      async install(path, onProgress) {
        report = onProgress;
        await written.promise;
        await engine.install(path, onProgress);
      },
    };
    restarts = 0;
    updates = openUpdates({
      ...{ places, clock: systemClock, log: createLog('silent', 'test'), rauc, bootId: 'this boot' },
      journal: openJournal(places.state, systemClock),
      reboot: async () => {
        restarts += 1;
      },
    });
    const content = await readFile(await maker.make({ version: '2.0.0' }));
    const total = String(content.length);
    const query = { key: 'ab'.repeat(16), offset: '0', total, source: 'upload' as const };
    ({ sha256 } = await updates.store.receive(query, Readable.from([content])));
  });
  afterEach(async () => {
    finishWriting();
    await updates.idle();
    updates.close();
    await rm(top, { recursive: true, force: true });
  });

  test('a restart that is moved to another time stays moved', async () => {
    const { id } = await updates.install({ sha256, restart: 'now', skipReason, actor });
    await updates.setRestart(id, 'manual');
    for (const progress of [10, 20, 60]) report(progress);
    finishWriting();
    await updates.idle();

    const { current } = await updates.overview();
    expect(current).toMatchObject({ state: 'ready', restart: 'manual', rebootAt: null, progress: 100 });
    expect(restarts).toBe(0);
  });

  test('a restart that is asked for at once is made as soon as it is installed', async () => {
    const { id } = await updates.install({ sha256, restart: 'manual', skipReason, actor });
    await updates.setRestart(id, 'now');
    finishWriting();

    await waitFor('the restart', () => restarts === 1);
    expect((await updates.overview()).current).toMatchObject({ state: 'rebooting' });
  });

  test('it cannot be cancelled, and nothing is changed by that', async () => {
    const { id } = await updates.install({ sha256, restart: 'manual', skipReason, actor });

    await expect(updates.cancel(id, actor)).rejects.toMatchObject({ code: 'wrong_state' });
    finishWriting();
    await updates.idle();

    expect((await updates.overview()).current).toMatchObject({ state: 'ready' });
  });

  test('progress is shown, and never goes back', async () => {
    await updates.install({ sha256, restart: 'manual', skipReason, actor });
    await waitFor('the first progress', async () => {
      report(45);
      return (await updates.records.current())?.progress === 45;
    });
    report(20);

    expect((await updates.records.current())?.progress).toBe(45);
  });

  test('of two that are asked for at once one is refused', async () => {
    const asked = await Promise.allSettled(
      [1, 2].map(() => updates.install({ sha256, restart: 'manual', skipReason, actor })),
    );

    expect(asked.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
    expect(await updates.records.updates()).toHaveLength(1);
  });

  test('once installed it can be called off, and the boot loader stays with the slot that runs', async () => {
    const { id } = await updates.install({ sha256, restart: 'manual', skipReason, actor });
    finishWriting();
    await updates.idle();
    const both = await Promise.allSettled([updates.setRestart(id, 'now'), updates.cancel(id, actor)]);

    await waitFor('an end', async () => restarts === 1 || (await updates.records.current()) === undefined);
    const cancelled = both[1].status === 'fulfilled';
    expect(readMemory(top).order[0]).toBe(cancelled ? 'A' : 'B');
    expect(restarts).toBe(cancelled ? 0 : 1);
  });
});
