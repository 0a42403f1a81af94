/**
 * Measures a whole appliance: `holdfast serve` on the embedded database and a folder of its own, set up by file, given a
 * tree, a first snapshot, and a full restore test. Says for each phase how long it took and what its processes held.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openControl, type ControlClient } from '../../server/cli/control-client.ts';
import { chooseSnapshot } from '../../server/cli/choose-snapshot.ts';
import { generateAgeIdentity } from '../../server/keys/index.ts';
import { COMPILE_CACHE_DIR } from '../../server/lib/compile-cache.ts';
import type { Run } from '../../server/lib/run-schema.ts';
import { endOf, startProcess, type ChildProcess } from '../../server/lib/spawn.ts';
import { makeCorpus, type CorpusSize } from './corpus.ts';
import { watchMemory, type MemoryPeaks } from './process-memory.ts';

/** In this order. `idle` is a claimed appliance that nobody uses; `idle again` the same after all that work. */
export type Phase = 'start' | 'idle' | 'import' | 'snapshot' | 'restore test' | 'idle again';

export interface PhaseFigures {
  seconds: number;
  memory: MemoryPeaks;
}

export interface ApplianceOptions {
  /** An empty folder for everything that is made. */
  folder: string;
  size: CorpusSize;
  seed: string;
  /** How long an idle appliance is left alone before it is looked at, and is looked at. */
  idleSeconds: number;
}

const ROOT = join(import.meta.dirname, '..', '..');
const READY_MS = 90_000;

/** @throws Error when a run does not succeed or the appliance does not start */
export async function measureAppliance(options: ApplianceOptions): Promise<Map<Phase, PhaseFigures>> {
  const { folder } = options;
  const corpus = join(folder, 'corpus');
  makeCorpus(corpus, options.size, options.seed);
  // A binary of its own: other Nodes of the machine would take a part of the shared pages out of the sum.
  const node = join(folder, 'node');
  copyFileSync(process.execPath, node);
  const dataDir = join(folder, 'data');
  const figures = new Map<Phase, PhaseFigures>();

  const first = await serve(node, dataDir);
  await setUp(node, folder, dataDir).finally(() => stop(first.child));
  // What set-up loaded and left is gone: an appliance spends its life restarted, claimed and idle.
  const { child, seconds } = await serve(node, dataDir);
  const watch = watchMemory(child.pid ?? 0);
  const control = openControl(dataDir);
  const measure = async (phase: Phase, act: () => Promise<void>): Promise<void> => {
    watch.take();
    const startedAt = performance.now();
    await act();
    figures.set(phase, { seconds: (performance.now() - startedAt) / 1000, memory: watch.take() });
  };
  const idle = async (phase: Phase) => {
    await pause(options.idleSeconds);
    await measure(phase, () => pause(options.idleSeconds));
  };
  try {
    figures.set('start', { seconds, memory: watch.take() });
    await idle('idle');
    await measure('import', () =>
      control.sendStreaming('/console/import', { sourceDir: corpus }, () => undefined),
    );
    await measure('snapshot', () => finishRun(control, control.send<Run>('POST', '/snapshots')));
    await measure('restore test', async () => {
      const chosen = {
        ...(await chooseSnapshot(control, undefined)),
        mode: 'full',
        keySource: 'test-identity',
      };
      const test = await control.send<{ runId: string }>('POST', '/restore-tests', chosen);
      await finishRun(control, Promise.resolve({ id: test.runId }));
    });
    await idle('idle again');
    return figures;
  } finally {
    watch.stop();
    await stop(child);
  }
}

/** A line for each phase: seconds, the peak of the sum, and PSS and RSS of each role at their own peaks; in MiB. */
export function describeFigures(figures: Map<string, PhaseFigures>): string {
  const lines = [...figures].map(([phase, { seconds, memory }]) => {
    const roles = [...memory.roles].map(
      ([role, { pss, rss }]) => `${role} ${pss.toFixed(0)}/${rss.toFixed(0)}`,
    );
    const { pss, rss } = memory.all;
    const sum = `${pss.toFixed(0)}/${rss.toFixed(0)}`;
    return `${phase.padEnd(13)}${seconds.toFixed(2).padStart(7)} s  together ${sum.padEnd(9)}  ${roles.join(', ')}`;
  });
  return ['MiB as PSS/RSS, the highest of samples every 100 ms', ...lines].join('\n');
}

function pause(seconds: number): Promise<void> {
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
async function serve(node: string, dataDir: string): Promise<{ child: ChildProcess; seconds: number }> {
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

async function stop(child: ChildProcess): Promise<void> {
  child.kill('SIGTERM');
  await endOf(child);
}

async function setUp(node: string, folder: string, dataDir: string): Promise<void> {
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

async function finishRun(control: ControlClient, started: Promise<{ id: string }>): Promise<void> {
  const { id } = await started;
  for (;;) {
    const run = await control.get<Run>(`/runs/${id}`);
    if (run.state === 'succeeded') return;
    if (run.state !== 'queued' && run.state !== 'running')
      throw new Error(`the run ${run.state}: ${JSON.stringify(run.error)}`);
    await pause(0.1);
  }
}
