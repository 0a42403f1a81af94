/**
 * Measures a whole appliance: set up by file, given a tree, a first snapshot, and a full restore test. Says for each phase how long it took and what its processes held.
 */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { openControl } from '../../server/cli/control-client.ts';
import { chooseSnapshot } from '../../server/cli/choose-snapshot.ts';
import type { Run } from '../../server/lib/run-schema.ts';
import { makeCorpus, type CorpusSize } from './corpus.ts';
import { watchMemory, type MemoryPeaks } from './process-memory.ts';
import { finishRun, pause, serve, setUp, stop } from './served.ts';

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
    await measure('snapshot', async () => {
      await finishRun(control, control.send<Run>('POST', '/snapshots'));
    });
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
