/**
 * Puts the programs that tests compare ours with into .cache/tools, where the machine has none: Debian packages are
 * downloaded and unpacked there, nothing is installed, no right is needed. Prints what it did.
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  findTool,
  LIBRARIES,
  PROGRAMS,
  STARTERS,
  toolEnvironment,
  TOOL_PACKAGES,
  TOOLS_DIRECTORY,
  type ToolName,
} from '../test/helpers/tools.ts';
import { runProcess } from '../server/lib/spawn.ts';

writeStarters();
const missing = await findMissing();
if (missing.length > 0) {
  process.stdout.write(`Fetching for the tests: ${missing.join(', ')}\n`);
  await fetchPackages(missing.flatMap((name) => [...TOOL_PACKAGES[name]]));
  const still = await findMissing();
  if (still.length > 0) {
    process.stderr.write(
      `Still missing: ${still.join(', ')}. Install them, on Debian: apt-get install ${still
        .flatMap((name) => [...TOOL_PACKAGES[name]])
        .join(' ')}\n`,
    );
    process.exit(1);
  }
}

async function findMissing(): Promise<ToolName[]> {
  const names = Object.keys(TOOL_PACKAGES) as ToolName[];
  const works = await Promise.all(names.map(toolWorks));
  return names.filter((_name, index) => !works[index]);
}

async function toolWorks(name: ToolName): Promise<boolean> {
  const path = findTool(name);
  if (path === undefined) return false;
  if (name !== 'python3') return true;
  const result = await runProcess(path, ['-c', 'import cryptography.hazmat.primitives.ciphers.aead'], {
    timeoutMs: 30_000,
    env: { ...process.env, ...toolEnvironment() },
  });
  return result.exitCode === 0;
}

/** Uses apt with state of its own, so that neither root nor the machine's package lists are touched. */
async function fetchPackages(packages: string[]): Promise<void> {
  const state = join(TOOLS_DIRECTORY, '..', 'apt');
  for (const folder of ['lists/partial', 'cache/archives/partial', 'packages']) {
    mkdirSync(join(state, folder), { recursive: true });
  }
  mkdirSync(TOOLS_DIRECTORY, { recursive: true });
  const options = [
    ['Dir::State::lists', join(state, 'lists')],
    ['Dir::Cache', join(state, 'cache')],
    ['APT::Sandbox::User', ''],
    ['Acquire::Retries', '2'],
  ].flatMap(([name, value]) => ['-o', `${name ?? ''}=${value ?? ''}`]);
  await must('apt-get', [...options, 'update', '-qq'], state);
  await must('apt-get', [...options, 'download', '-qq', ...packages], join(state, 'packages'));
  for (const file of readdirSync(join(state, 'packages')).filter((name) => name.endsWith('.deb'))) {
    await must('dpkg-deb', ['-x', join(state, 'packages', file), TOOLS_DIRECTORY], state);
  }
  writeStarters();
}

/**
 * One script for each program, which gives it its libraries: they are looked for in the system's folders otherwise, and programs
 * that are called by others, with an environment of their own, would not find them.
 */
function writeStarters(): void {
  const folder = join(TOOLS_DIRECTORY, STARTERS);
  const libraries = LIBRARIES.map((one) => join(TOOLS_DIRECTORY, one)).join(':');
  for (const programs of PROGRAMS.map((one) => join(TOOLS_DIRECTORY, one))) {
    if (!existsSync(programs)) continue;
    mkdirSync(folder, { recursive: true });
    for (const name of readdirSync(programs)) {
      const path = join(programs, name);
      const script = `#!/bin/sh\nLD_LIBRARY_PATH='${libraries}' exec '${path}' "$@"\n`;
      writeFileSync(join(folder, name), script, { mode: 0o755 });
    }
  }
}

async function must(command: string, args: string[], cwd: string): Promise<void> {
  const result = await runProcess(command, args, { timeoutMs: 300_000, cwd }).catch((error: unknown) => ({
    exitCode: 1,
    stderr: String(error),
    stdout: '',
  }));
  if (result.exitCode !== 0) process.stderr.write(`${command} failed: ${result.stderr.slice(-2_000)}\n`);
}
