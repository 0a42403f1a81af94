/**
 * The test command: fetches what the tests compare with, builds the web interface, runs every test, and closes with
 * `N passed, N failed`. Arguments go to vitest.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numFailedTestSuites: number;
  numPendingTests: number;
  numTodoTests: number;
  success: boolean;
}

const root = join(import.meta.dirname, '..');
const reportFile = join(root, '.cache', 'test-report.json');
// Everything that tests make, the unpacked browser included, lies in the project and is gone afterwards.
const temporary = join(root, '.cache', 'tmp');
rmSync(temporary, { recursive: true, force: true });
mkdirSync(temporary, { recursive: true });
rmSync(reportFile, { force: true });

run('scripts/fetch-test-tools.ts');
run('scripts/build-web.ts', '--if-stale');
const status = start(
  'node_modules/vitest/vitest.mjs',
  'run',
  ...[
    '-c',
    'test/vitest.config.ts',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${reportFile}`,
  ],
  ...process.argv.slice(2),
);
rmSync(temporary, { recursive: true, force: true, maxRetries: 5 });
process.exit(close(status));

function start(script: string, ...args: string[]): number {
  const result = spawnSync(process.execPath, [join(root, script), ...args], {
    cwd: root,
    stdio: 'inherit',
    // Hundreds of processes are started and killed; most of their time would go into compiling the same sources.
    env: {
      ...process.env,
      TMPDIR: temporary,
      NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'holdfast'),
    },
  });
  return result.status ?? 1;
}

function run(script: string, ...args: string[]): void {
  const code = start(script, ...args);
  if (code !== 0) process.exit(code);
}

/** Says the outcome in one line. A skipped test or a run without tests is a failure: nothing here may be left out. */
function close(code: number): number {
  const report = JSON.parse(readFileSync(reportFile, 'utf8')) as Report;
  const skipped = report.numPendingTests + report.numTodoTests;
  const failed =
    report.numFailedTests +
    (report.success ? 0 : report.numFailedTests === 0 ? report.numFailedTestSuites : 0);
  if (skipped > 0) process.stdout.write(`${skipped} tests did not run\n`);
  process.stdout.write(`${report.numPassedTests} passed, ${failed} failed\n`);
  return code !== 0 || failed > 0 || report.numPassedTests === 0 ? 1 : 0;
}
