/** What shipping remembers: begun anew when it is damaged, and never because something else is wrong. */
import { mkdir, mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openShipState, shipStatePath } from '../../../server/backups/wal/ship-state.ts';
import { createBornScan } from '../../../server/backups/wal/born-scan.ts';
import { systemClock } from '../../../server/lib/clock.ts';

let dataDir: string;
let path: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'holdfast-ship-state-'));
  path = shipStatePath(dataDir);
  await mkdir(dirname(path), { recursive: true });
});
afterEach(() => rm(dataDir, { recursive: true, force: true }));

test('numbers go on after it was closed', () => {
  const first = openShipState(dataDir);
  first.raiseBorn(41);
  first.close();
  const second = openShipState(dataDir);

  expect(second.nextBorn()).toBe(42);
  second.close();
});

test('a file that is no database is begun anew', async () => {
  await writeFile(path, 'no database at all, and long enough to be looked at'.repeat(100));
  const state = openShipState(dataDir);

  expect(state.list()).toEqual([]);
  state.close();
});

test('what cannot be opened for another reason stays as it is, and is an error', async () => {
  await mkdir(path);

  expect(() => openShipState(dataDir)).toThrow();
  expect((await stat(path)).isDirectory()).toBe(true);
});

test('nobody but us and those who share the data may read it', async () => {
  openShipState(dataDir).close();

  expect((await stat(path)).mode & 0o007).toBe(0);
  await truncate(path);
});

test('a folder of the store that was looked at in vain is looked at again', async () => {
  const files = join(dataDir, 'files');
  await mkdir(join(files, '3a'), { recursive: true });
  const content = '3a000000-0000-4000-8000-000000000000';
  await writeFile(join(files, '3a', content), 'x');
  const later = { now: () => new Date(systemClock.now().getTime() + 60_000) };
  const scan = createBornScan(files, later);
  const look = async () => {
    const found = [];
    for await (const one of scan.look()) found.push(...one.contents);
    return found;
  };

  expect(await look()).toEqual([content]);
  expect(await look()).toEqual([]);
  scan.again('3a');
  expect(await look()).toEqual([content]);
});
