/**
 * The test command: fetches what the tests compare with, builds the web interface, runs every test, and closes with
 * `N passed, N failed`. Arguments go to vitest.
 *
 * With CI set, where other work may take the machine away for seconds, a few failed files run once more, alone, and what passes
 * only then is named: it is a fault of the test or of the product that has to be found, and no reason to hold a change back.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

interface Report {
  testResults: { name: string; status: string; assertionResults: { status: string; fullName: string }[] }[];
  numPassedTests: number;
  numFailedTests: number;
  numFailedTestSuites: number;
  numPendingTests: number;
  numTodoTests: number;
  success: boolean;
}

const root = join(import.meta.dirname, '..');
const reportFile = join(root, '.cache', 'test-report.json');
const secondReportFile = join(root, '.cache', 'test-report-again.json');
/** More failed files than these are no accident. */
const MOST_TRIED_AGAIN = 3;
// Everything that tests make, the unpacked browser included, lies in the project and is gone afterwards.
const temporary = join(root, '.cache', 'tmp');
rmSync(temporary, { recursive: true, force: true });
mkdirSync(temporary, { recursive: true });
rmSync(reportFile, { force: true });
rmSync(secondReportFile, { force: true });

run('scripts/fetch-test-tools.ts');
run('scripts/build-web.ts', '--if-stale');
const status = runTests(reportFile, process.argv.slice(2));
const again = status === 0 || process.env.CI === undefined ? undefined : tryAgain(read(reportFile));
rmSync(temporary, { recursive: true, force: true, maxRetries: 5 });
process.exit(close(status, again));

function runTests(report: string, args: string[]): number {
  return start(
    'node_modules/vitest/vitest.mjs',
    'run',
    ...[
      '-c',
      'test/vitest.config.ts',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
    ],
    ...args,
  );
}

/** @returns what the second run of the failed files said; undefined when so many failed that it is no accident. */
function tryAgain(first: Report): { files: string[]; report: Report } | undefined {
  const files = failedFiles(first);
  if (files.length === 0 || files.length > MOST_TRIED_AGAIN) return undefined;
  process.stdout.write(`\nOnce more, one after the other:\n${files.join('\n')}\n`);
  runTests(secondReportFile, [...files, '--maxWorkers=1']);
  const report = read(secondReportFile);
  const passedBefore = new Set(testsOf(first, files, 'passed'));
  const late = testsOf(report, files, 'passed').filter((name) => !passedBefore.has(name));
  process.stdout.write(`\n${late.length} tests passed only at the second try, and are to be mended:\n`);
  for (const name of late) process.stdout.write(`  ${name}\n`);
  return { files, report };
}

function failedFiles({ testResults }: Report): string[] {
  return testResults.filter(({ status: outcome }) => outcome === 'failed').map(({ name }) => name);
}

function testsOf({ testResults }: Report, files: string[], outcome: string): string[] {
  return testResults
    .filter(({ name }) => files.includes(name))
    .flatMap(({ assertionResults }) => assertionResults)
    .flatMap(({ status: own, fullName }) => (own === outcome ? [fullName] : []));
}

function read(file: string): Report {
  return JSON.parse(readFileSync(file, 'utf8')) as Report;
}

function start(script: string, ...args: string[]): number {
  const result = spawnSync(process.execPath, [join(root, script), ...args], {
    cwd: root,
    stdio: 'inherit',
    // Hundreds of processes are started and killed; most of their time would go into compiling the same sources.
    env: {
      ...process.env,
      TMPDIR: temporary,
      TEST_JOINED: '1',
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
function close(code: number, again: { files: string[]; report: Report } | undefined): number {
  const first = read(reportFile);
  const skipped = first.numPendingTests + first.numTodoTests;
  if (skipped > 0) process.stdout.write(`${skipped} tests did not run\n`);
  const { passed, failed } = again === undefined ? countOf(first) : countBoth(first, again);
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  return (again === undefined && code !== 0) || failed > 0 || passed === 0 ? 1 : 0;
}

function countOf(report: Report): { passed: number; failed: number } {
  // A file that could not even be loaded, or an error outside of any test, failed too.
  const outside = report.success || report.numFailedTests > 0 ? 0 : Math.max(1, report.numFailedTestSuites);
  return { passed: report.numPassedTests, failed: report.numFailedTests + outside };
}

/** The files that ran twice count as the second run found them. */
function countBoth(first: Report, { files, report }: { files: string[]; report: Report }) {
  const second = countOf(report);
  return {
    passed: first.numPassedTests - testsOf(first, files, 'passed').length + second.passed,
    failed: first.numFailedTests - testsOf(first, files, 'failed').length + second.failed,
  };
}
