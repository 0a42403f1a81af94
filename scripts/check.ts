/**
 * Everything that must hold before a change lands, tests apart: formatting, types of server, web and tests, lint, unused
 * code, web build. Runs all of it and names what failed.
 */
import { join } from 'node:path';
import { runProcess } from '../server/lib/spawn.ts';

const root = join(import.meta.dirname, '..');
const bin = join(root, 'node_modules', '.bin');

const STEPS: [string, string[]][] = [
  ['formatting', [join(bin, 'prettier'), '--check', '.']],
  ['types', [join(bin, 'tsc'), '--noEmit', '-p', '.']],
  ['types of the web', [join(bin, 'svelte-check'), '--tsconfig', 'web/tsconfig.json', '--fail-on-warnings']],
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
  ['unused code', [join(bin, 'knip'), '--config', 'scripts/knip.json']],
  ['web build', [join(root, 'scripts', 'build-web.ts')]],
];

let failed = 0;
for (const [name, args] of STEPS) {
  const startedAt = performance.now();
  const result = await runProcess(process.execPath, args, {
    cwd: root,
    timeoutMs: 600_000,
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
process.exit(failed === 0 ? 0 : 1);
