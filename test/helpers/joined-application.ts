/**
 * The application as the image has it: its hundreds of modules joined into few files. Each of its processes starts in less than half
 * of the time, so `npm test` lets the appliances of the tests run from it. A test file that runs alone takes the checkout as it is.
 */
import { cp, mkdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..', '..');
const VARIABLE = 'TEST_APPLICATION';

/** Vitest's global setup. The command that asks for it removes the folder for temporary files. */
export default async function setup(): Promise<void> {
  if (process.env.TEST_JOINED === undefined) return;
  // Always the same place: what Node compiles is kept by the path.
  process.env[VARIABLE] = await makeJoinedApplication(tmpdir());
}

/** Folder of the application from which the appliances of the tests run. */
export function applicationFolder(): string {
  return process.env[VARIABLE] ?? ROOT;
}

/** @returns the folder `application`, made in `folder`. */
export async function makeJoinedApplication(folder: string): Promise<string> {
  // Here, for it loads a bundler, which few who load this file need.
  const { joinModules } = await import('../../scripts/image/join-modules.ts');
  const application = join(folder, 'application');
  // Of an earlier run, whose files failed and run once more.
  await rm(application, { recursive: true, force: true });
  await mkdir(join(application, 'web'), { recursive: true });
  for (const name of ['server', 'package.json']) {
    await cp(join(ROOT, name), join(application, name), { recursive: true });
  }
  await symlink(join(ROOT, 'node_modules'), join(application, 'node_modules'));
  await symlink(join(ROOT, 'web', 'dist'), join(application, 'web', 'dist'));
  await joinModules(application, folder, application);
  return application;
}
