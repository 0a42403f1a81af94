/**
 * A restore test on any machine, from a target and a recovery kit: no appliance takes part, so none is trusted. What comes out is
 * not signed; the reader saw it happen.
 */
import { join } from 'node:path';
import type { TargetConfig } from '../backups/index.ts';
import type { RecoveryKit } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { RunProgress } from '../lib/run-schema.ts';
import { sceneOpeners } from './open-scene.ts';
import { performTest, type TestVerdict } from './perform-test.ts';
import type { Scene } from './scene.ts';
import type { DataTestMode } from './schema.ts';

export interface KitTestOptions {
  target: TargetConfig;
  kit: Pick<RecoveryKit, 'repositoryId' | 'trustRoot' | 'ageIdentity'>;
  /** As `Repository.findSnapshot` takes it; the newest when absent. */
  snapshot?: string | undefined;
  mode: DataTestMode;
  /** An existing private folder with room for the database; what is put there is removed again. */
  workDir: string;
  clock: Clock;
  signal: AbortSignal;
  steps?: (steps: NonNullable<RunProgress['steps']>) => void;
  log?: (message: string) => void;
}

/** @throws what cancelled it; a failed check is a result. */
export async function testWithKit(options: KitTestOptions): Promise<TestVerdict> {
  const { target, kit, clock } = options;
  const scratchDir = join(options.workDir, 'holdfast-restore-test');
  const trustRoot = Buffer.from(kit.trustRoot, 'base64');
  const { repositoryId, ageIdentity: identity } = kit;
  const keys = { source: 'kit', identity, repositoryId, trustRoot } as const;
  const scene: Scene = {
    mode: options.mode,
    snapshotId: options.snapshot ?? 'latest',
    scratchDir,
    clock,
    startedAt: clock.now(),
    signal: options.signal,
    expectations: { snapshotDueAt: undefined },
    // Only the appliance knows them.
    asked: { assertions: [], seconds: 0, objectives: { rtoMs: null, rpoMs: null } },
    // Nobody here knows of others.
    copy: { choice: 'certain', drawnFrom: null, newest: true },
    progress: () => undefined,
    ...sceneOpeners({ target, keys, scratchDir, clock }),
  };
  return performTest(scene, {
    steps: options.steps ?? (() => undefined),
    log: async (_level, message) => options.log?.(message),
  });
}
