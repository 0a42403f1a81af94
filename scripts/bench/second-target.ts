/** What a second target costs: `node scripts/bench/second-target.ts FOLDER` takes a first and an unchanged snapshot, and copies each. */
import { mkdirSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { ALLOCATOR_ENVIRONMENT } from '../../server/lib/process-memory.ts';
import { measure } from './measure.ts';

const corpus = process.argv[2];
if (corpus === undefined) throw new Error('Give the folder to back up');
const top = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
const state = join(top, 'state');
mkdirSync(state);
const script = join(import.meta.dirname, 'engine-run.ts');
const run = (...args: string[]) =>
  measure(process.execPath, ['--max-semi-space-size=2', '--max-old-space-size=512', script, ...args], {
    ...ALLOCATOR_ENVIRONMENT,
  });
try {
  await run('init', state);
  for (const [name, act, directory] of [
    ['first snapshot', 'snapshot', corpus],
    ['its copy', 'copy', join(top, 'second')],
    ['nothing changed', 'snapshot', corpus],
    ['its copy', 'copy', join(top, 'second')],
  ] as const) {
    const { seconds, peakMebibytes, stdout } = await run(act, state, directory);
    process.stdout.write(
      `${name.padEnd(16)} ${seconds.toFixed(1)} s, ${String(Math.round(peakMebibytes))} MiB, load ${(loadavg()[0] ?? 0).toFixed(1)}  ${stdout}`,
    );
  }
} finally {
  rmSync(top, { recursive: true, force: true });
}
