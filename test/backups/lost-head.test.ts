/** What can be known of a target that lost its newest objects, by someone with a kit and nothing to remember by. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { chooseSnapshot } from '../../server/backups/recover-choose.ts';
import type { RecoverOptions } from '../../server/backups/recover-plan.ts';
import { verifyRepository } from '../../server/backups/repository/verify-repository.ts';
import { createPlace, openPlace, type Place, takeSnapshot, withWriter } from './repository-place.ts';

vi.setConfig({ testTimeout: 60_000 });

let place: Place;
beforeEach(async () => {
  place = await createPlace();
  await takeSnapshot(place, { 'a.txt': Buffer.from('first') });
  await takeSnapshot(place, { 'a.txt': Buffer.from('second') });
});
afterEach(() => place.dispose());

const openWithKit = () => openPlace(place, { kit: true, catalogue: join(place.top, 'kit.sqlite') });

async function removeNewest(kind: 'heads' | 'snapshots'): Promise<void> {
  const names = await readdir(join(place.path, kind));
  const [newest = ''] = names.sort((a, b) => Number.parseInt(b, 10) - Number.parseInt(a, 10));
  await rm(join(place.path, kind, newest));
}

test('a report that was signed under a head that is gone proves that it was there', async () => {
  const report = {
    id: '11111111-2222-4333-8444-555555555555',
    kind: 'restore-test' as const,
    createdAt: place.clock.now().toISOString(),
    content: {},
  };
  await withWriter(place, (writer) => writer.publishReport(report));
  const whole = await openWithKit();
  expect(await verifyRepository(whole, { everyByte: false })).toMatchObject({ ok: true });
  await whole.close();
  await removeNewest('heads');
  await rm(join(place.top, 'kit.sqlite'));

  const repository = await openWithKit();
  const found = await verifyRepository(repository, { everyByte: false });

  expect(found.ok).toBe(false);
  expect(found.problems[0]?.message).toContain('newer heads were taken away');
  await repository.close();
});

test('recovery from a target without its newest snapshot names those that can be read', async () => {
  await removeNewest('snapshots');
  const repository = await openWithKit();
  const options = { confirm: async () => true, clock: place.clock } as unknown as RecoverOptions;

  await expect(chooseSnapshot(repository, options)).rejects.toMatchObject({
    code: 'integrity_failure',
    message: 'The newest snapshot is missing or damaged on this target',
    hint: expect.stringContaining('--snapshot: 1 can be read') as string,
  });
  expect(await chooseSnapshot(repository, { ...options, snapshot: '1' })).toMatchObject({ number: 1 });
  await repository.close();
});
