/** What the run of a test is given: the way to its target, its keys, and the scene that its checks work on. */
import { join } from 'node:path';
import {
  getTarget,
  openTargetConfig,
  parsePoint,
  readResidency,
  rememberedHead,
  type ChosenPoint,
  type TargetConfig,
} from '../backups/index.ts';
import type { FieldSealer, KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { dataPaths } from '../lib/data-folder.ts';
import type { Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { RunContext } from '../lib/runs.ts';
import { assertionsFor } from './assertions/assertions.ts';
import { sceneOpeners, type TestKeys } from './open-scene.ts';
import type { Watcher } from './perform-test.ts';
import { findSnapshotDueAt, type RestoreTestRow } from './queries.ts';
import type { Machine, Scene } from './scene.ts';
import type { LentKeys, RestoreTestMode } from './schema.ts';
import { readTestSettings } from './settings.ts';

export interface RunRestoreTestDeps {
  dataDir: string;
  clock: Clock;
  db: Database;
  keys: KeyClient;
  sealer: FieldSealer;
  /** Where hostd gathers what snapshots keep of the machine; only on the machine image. */
  systemDir?: string | undefined;
  /** What reads it there. */
  readMachine?: Machine['read'] | undefined;
}

/** Which copy, and how it is opened. */
export type TestedCopy = Pick<RestoreTestRow, 'snapshot_id' | 'target_id' | 'mode' | 'key_source'> &
  Partial<Pick<RestoreTestRow, 'choice' | 'drawn_from' | 'newest' | 'point_time' | 'point_lsn'>>;

/** A test with the kit has no right to live keys: the server lends it the way to the target too, where that holds a secret. */
export async function whatIsNeeded(
  deps: RunRestoreTestDeps,
  runId: string,
  test: TestedCopy,
  known?: TestKeys,
): Promise<{ keys: TestKeys; target: TargetConfig }> {
  const row = await getTarget(deps.db, test.target_id);
  if (test.key_source !== 'recovery-kit') {
    const keys = known ?? (await testKeys(deps, runId));
    return { keys, target: await openTargetConfig(deps, row) };
  }
  const { kit, target } = (await deps.keys.take(runId)) as { kit: LentKeys; target: TargetConfig };
  return { keys: { source: 'lent', lent: kit, ...(await trustedRepository(deps)) }, target };
}

async function trustedRepository(
  deps: RunRestoreTestDeps,
): Promise<{ repositoryId: string; trustRoot: Uint8Array }> {
  const { repository } = await deps.keys.status();
  if (repository.repositoryId === null || repository.trustRoot === null) {
    throw new HoldfastError('wrong_state', 'There is no repository yet', {
      hint: 'Finish the set-up first.',
    });
  }
  return {
    repositoryId: repository.repositoryId,
    trustRoot: Buffer.from(repository.trustRoot, 'base64'),
  };
}

export async function testKeys(deps: RunRestoreTestDeps, runId: string): Promise<TestKeys> {
  const common = await trustedRepository(deps);
  const identity = await deps.keys.testIdentities(runId);
  return { source: 'test-identity', identity, keys: deps.keys, sealer: deps.sealer, ...common };
}

export async function openScene(
  deps: RunRestoreTestDeps,
  context: RunContext,
  parts: {
    test: TestedCopy;
    target: TargetConfig;
    keys: TestKeys;
    asked: Scene['asked'];
    progress: Scene['progress'];
  },
): Promise<Scene> {
  const scratchDir = join(dataPaths(deps.dataDir).scratch, context.runId);
  return {
    mode: modeOf(parts.test),
    machine: deps.readMachine && { isOurs: deps.systemDir !== undefined, read: deps.readMachine },
    snapshotId: parts.test.snapshot_id,
    chosen: chosenOf(parts.test),
    scratchDir,
    clock: deps.clock,
    startedAt: deps.clock.now(),
    signal: context.signal,
    expectations: { snapshotDueAt: await findSnapshotDueAt(deps.db) },
    asked: parts.asked,
    copy: {
      choice: (parts.test.choice ?? 'certain') as Scene['copy']['choice'],
      drawnFrom: parts.test.drawn_from ?? null,
      newest: parts.test.newest ?? true,
    },
    progress: parts.progress,
    ...sceneOpeners({
      target: parts.target,
      keys: parts.keys,
      scratchDir,
      knownHead: rememberedHead(
        deps.dataDir,
        parts.keys.repositoryId,
        await getTarget(deps.db, parts.test.target_id),
      ),
      clock: deps.clock,
    }),
  };
}

export const modeOf = ({ mode }: Pick<TestedCopy, 'mode'>): RestoreTestMode =>
  mode === 'full' || mode === 'system' ? mode : 'quick';

function chosenOf({ point_time: at, point_lsn: lsn }: TestedCopy): ChosenPoint | undefined {
  if (at != null) return { kind: 'time', at };
  return lsn == null ? undefined : parsePoint({ lsn });
}

const inMs = (minutes: number | null): number | null => (minutes === null ? null : minutes * 60_000);

/** What people ask in a test of that kind. */
export async function askedOf(
  db: Database,
  test: Pick<TestedCopy, 'mode' | 'key_source' | 'target_id'>,
): Promise<Scene['asked']> {
  const { assertionSeconds: seconds, rtoMinutes, rpoMinutes } = await readTestSettings(db);
  const mode = modeOf(test);
  const keySource = test.key_source === 'recovery-kit' ? 'recovery-kit' : 'test-identity';
  return {
    assertions: await assertionsFor(db, { mode, keySource }),
    seconds,
    objectives: { rtoMs: inMs(rtoMinutes), rpoMs: inMs(rpoMinutes) },
    residency: { of: await readResidency(db), targetId: test.target_id },
  };
}

/** Steps and bytes of a test as its run reports them. */
export function reportTo(context: RunContext): {
  watcher: Watcher;
  progress: Scene['progress'];
} {
  let steps: Parameters<Watcher['steps']>[0] = [];
  let bytes: { bytesDone: number; bytesTotal: number } | undefined;
  const report = () => {
    context.report({ steps: [...steps], ...bytes });
  };
  return {
    watcher: {
      steps: (next) => {
        steps = next;
        // Bytes are those of a step.
        bytes = undefined;
        report();
      },
      log: (level, message) => context.log(level, message),
    },
    progress: (bytesDone, bytesTotal) => {
      bytes = { bytesDone, bytesTotal };
      report();
    },
  };
}
