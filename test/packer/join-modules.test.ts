/** The server as the image has it: joined into few files, it does what the checkout does. */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeJoinedApplication } from '../helpers/joined-application.ts';
import {
  claimAppliance,
  makeFolder,
  proveOneFile,
  removeFolder,
  serveAppliance,
  signIn,
  type ServedAppliance,
} from '../helpers/served-appliance.ts';

const root = join(import.meta.dirname, '..', '..');
let folder: string;
let application: string;
let appliance: ServedAppliance | undefined;

beforeAll(async () => {
  folder = await makeFolder('joined');
  application = await makeJoinedApplication(folder);
}, 180_000);
afterAll(async () => {
  await appliance?.stop();
  await removeFolder(folder);
});

function loadedLater(file: string): string[] {
  const found = readFileSync(file, 'utf8').matchAll(/\bimport\("(\.[^"]+)"\)/g);
  // Comments of packages have examples in them.
  return [...found].map(([, path = '']) => join(dirname(file), path)).filter((path) => existsSync(path));
}

test('serves, takes files in, snapshots and proves what it snapshot', async () => {
  appliance = await serveAppliance({ application, dataDir: join(folder, 'data') });
  await claimAppliance(appliance);

  const proven = await proveOneFile(appliance, join(folder, 'target'));

  expect(proven).toMatchObject({ state: 'passed', grade: 'data-proven' });
}, 180_000);

test('started again, lets the owner in with the passkey, whose library is loaded only then', async () => {
  await appliance?.stop();
  appliance = await serveAppliance({ application, dataDir: join(folder, 'data') });

  await signIn(appliance);

  expect((await appliance.call('GET', '/session')).status).toBe(200);
}, 60_000);

test('whatever is loaded only when it is needed can be the first that is loaded', async () => {
  const server = join(application, 'server');
  const files = globSync('**/*.{ts,js}', { cwd: server });
  const later = new Set(files.flatMap((file) => loadedLater(join(server, file))));
  const failed = [...later].filter((file) => {
    const load = `import(${JSON.stringify(file)}).catch((error) => { console.error(error); process.exit(1); })`;
    return spawnSync(process.execPath, ['--input-type=module', '--eval', load]).status !== 0;
  });

  expect(later.size).toBeGreaterThan(10);
  expect(failed).toEqual([]);
}, 120_000);

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

test('is made anew where an earlier one lies, as when failed files run once more', async () => {
  await appliance?.stop();

  expect(await makeJoinedApplication(folder)).toBe(application);
});
