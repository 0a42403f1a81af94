/** The server as the image has it: joined into few files, it does what the checkout does. */
import { cp, mkdir, readdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { joinModules } from '../../scripts/image/join-modules.ts';
import {
  claimAppliance,
  makeFolder,
  proveOneFile,
  removeFolder,
  serveAppliance,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';

const root = join(import.meta.dirname, '..', '..');
let folder: string;
let application: string;
let appliance: ServedAppliance | undefined;

beforeAll(async () => {
  folder = await makeFolder('joined');
  application = join(folder, 'application');
  await mkdir(join(application, 'web'), { recursive: true });
  for (const name of ['server', 'package.json']) {
    await cp(join(root, name), join(application, name), { recursive: true });
  }
  await symlink(join(root, 'node_modules'), join(application, 'node_modules'));
  await symlink(join(root, 'web', 'dist'), join(application, 'web', 'dist'));
  await joinModules(application, folder, application);
}, 180_000);
afterAll(async () => {
  await appliance?.stop();
  await removeFolder(folder);
});

test('serves, takes files in, snapshots and proves what it snapshot', async () => {
  appliance = await serveAppliance({ application, dataDir: join(folder, 'data') });
  await claimAppliance(appliance);

  const proven = await proveOneFile(appliance, join(folder, 'target'));

  expect(proven).toMatchObject({ state: 'passed', grade: 'data-proven' });
}, 180_000);

test('every program that a unit or the server starts has kept its place', async () => {
  const [joined, checkout] = await Promise.all(
    [application, root].map((place) => readdir(join(place, 'server'), { recursive: true })),
  );
  const started = (names: string[] | undefined) =>
    names
      ?.filter((name) => /^[^/]+\.ts$|-thread\.ts$|^migrations\/.*\.ts$|^cli\/holdfast\.ts$/.test(name))
      .toSorted();

  expect(started(joined)).toEqual(started(checkout));
});
