/**
 * Everything that must hold before a change lands, tests apart: formatting, types of server, web and tests, lint, unused
 * code, web build. Runs all of it and names what failed.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { runProcess } from '../server/lib/spawn.ts';

const root = join(import.meta.dirname, '..');
const bin = join(root, 'node_modules', '.bin');

/** The longest first: two go at a time where there are two cores. */
const STEPS: [string, string[]][] = [
  [
    'lint',
    [
      join(bin, 'eslint'),
      '-c',
      'scripts/eslint.config.js',
      '--max-warnings=0',
      'server',
      'web',
      'test',
      'scripts',
    ],
  ],
  ['types of the web', [join(bin, 'svelte-check'), '--tsconfig', 'web/tsconfig.json', '--fail-on-warnings']],
  ['types', [join(bin, 'tsc'), '--noEmit', '-p', '.']],
  ['formatting', [join(bin, 'prettier'), '--check', '.']],
  ['web build', [join(root, 'scripts', 'build-web.ts')]],
  ['unused code', [join(bin, 'knip'), '--config', 'scripts/knip.json']],
];

let failed = 0;
const waiting = [...STEPS];
const work = async (): Promise<void> => {
  for (let step = waiting.shift(); step !== undefined; step = waiting.shift()) await check(...step);
};
await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, work));
process.exit(failed === 0 ? 0 : 1);

async function check(name: string, args: string[]): Promise<void> {
  const startedAt = performance.now();
  const result = await runProcess(process.execPath, args, {
    cwd: root,
    timeoutMs: 1_800_000,
    maxOutputBytes: 1_000_000,
    env: { ...process.env, FORCE_COLOR: '0' },
  });
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  if (result.exitCode === 0) {
    process.stdout.write(`ok      ${name} (${seconds} s)\n`);
  } else {
    failed += 1;
    process.stdout.write(`${result.stdout}${result.stderr}\nFAILED  ${name} (${seconds} s)\n`);
  }
}
