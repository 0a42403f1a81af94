/** A whole appliance for measuring: `holdfast serve` on the embedded database and a folder of its own, set up by file. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ControlClient } from '../../server/cli/control-client.ts';
import { generateAgeIdentity } from '../../server/keys/index.ts';
import { COMPILE_CACHE_DIR } from '../../server/lib/compile-cache.ts';
import type { Run } from '../../server/lib/run-schema.ts';
import { endOf, startProcess, type ChildProcess } from '../../server/lib/spawn.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const READY_MS = 90_000;

export function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

function environment(dataDir: string): Record<string, string> {
  const { PATH = '', HOME = '', NODE_OPTIONS = '' } = process.env;
  return {
    ...{ PATH, HOME, HOLDFAST_DATA: dataDir, HOLDFAST_HOST: '127.0.0.1', HOLDFAST_PORT: '0' },
    ...{ NODE_OPTIONS, MALLOC_ARENA_MAX: '2', NODE_COMPILE_CACHE: COMPILE_CACHE_DIR },
  };
}

/** Starts it and waits until it says that it is ready. */
export async function serve(
  node: string,
  dataDir: string,
): Promise<{ child: ChildProcess; seconds: number }> {
  const startedAt = performance.now();
  // As `scripts/holdfast` does.
  const child = startProcess(
    node,
    ['--max-semi-space-size=2', join(ROOT, 'server/cli/holdfast.ts'), 'serve'],
    {
      env: environment(dataDir),
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const output = { text: '' };
  const ready = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => ready.reject(new Error(`not ready in time:\n${output.text}`)), READY_MS);
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output.text = (output.text + text).slice(-100_000);
      if (output.text.includes('Holdfast is ready: https:')) ready.resolve(undefined);
    });
  }
  void endOf(child).then(() => ready.reject(new Error(`it ended before it was ready:\n${output.text}`)));
  await ready.promise.finally(() => clearTimeout(timer));
  return { child, seconds: (performance.now() - startedAt) / 1000 };
}

/** As a service manager does. */
export async function stop(child: ChildProcess): Promise<void> {
  child.kill('SIGTERM');
  await endOf(child);
}

/** An owner, a kit, and the directory `target` in the folder as the only target. */
export async function setUp(node: string, folder: string, dataDir: string): Promise<void> {
  const target = join(folder, 'target');
  mkdirSync(target);
  writeFileSync(join(folder, 'password'), 'copper kettle sings 7\n', { mode: 0o600 });
  const file = {
    owner: { name: 'Ada Lovelace', email: 'ada@example.org', passwordFile: 'password' },
    appliance: { name: 'Bench', stage: 'development', region: 'eu-north', allowedRegions: ['eu-north'] },
    kit: { recipient: (await generateAgeIdentity()).recipient, file: 'kit.age' },
    target: { name: 'disk', kind: 'directory', path: target, region: 'eu-north' },
    // Nothing that is due by itself comes in between.
    schedules: { snapshot: '0 0 1 1 *', restoreTest: '0 0 1 1 *' },
  };
  writeFileSync(join(folder, 'setup.yaml'), JSON.stringify(file));
  const done = spawnSync(
    node,
    [join(ROOT, 'server/cli/holdfast.ts'), 'setup', '--config', join(folder, 'setup.yaml')],
    { env: environment(dataDir), encoding: 'utf8' },
  );
  if (done.status !== 0) throw new Error(`set-up failed:\n${done.stdout}${done.stderr}`);
}

/** @returns the run, which succeeded. */
export async function finishRun(control: ControlClient, started: Promise<{ id: string }>): Promise<Run> {
  const { id } = await started;
  for (;;) {
    const run = await control.get<Run>(`/runs/${id}`);
    if (run.state === 'succeeded') return run;
    if (run.state !== 'queued' && run.state !== 'running')
      throw new Error(`the run ${run.state}: ${JSON.stringify(run.error)}`);
    await pause(0.1);
  }
}
