/**
 * A claimed appliance with a proven kit, a target, some files and, when asked, snapshots; its runs are carried out in this
 * process, with a run's own rights at keyd, as the worker's children do.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { randomBytes, randomUUID } from 'node:crypto';
import { findRunFunction } from '../../server/jobs.ts';
import { childEnvironment } from '../../server/lib/config.ts';
import { endOf, startProcess } from '../../server/lib/spawn.ts';
import { connectKeyd, credentialPath, openRunSealer } from '../../server/keys/index.ts';
import { systemClock } from '../../server/lib/clock.ts';
import { dataPaths } from '../../server/lib/data-folder.ts';
import { writeTransaction } from '../../server/lib/db.ts';
import { messageOf } from '../../server/lib/errors.ts';
import type { Run, RunProgress } from '../../server/lib/run-schema.ts';
import { enqueueRun, findRun, finishRun, takeQueuedRun, type RunContext } from '../../server/lib/runs.ts';
import type { JsonObject } from '../../server/lib/tables.ts';
import {
  expectStatus,
  proveTestKit,
  startTestAppliance,
  type TestAppliance,
  type TestCaller,
  type TestKit,
} from './appliance.ts';
import { quickTmpdir } from './memory-folder.ts';

export interface StockedAppliance extends TestAppliance {
  owner: TestCaller;
  kit: TestKit;
  targetId: string;
  /** Folder of the repository. */
  targetPath: string;
  workspaceId: string;
  rootFolderId: string;
  /** Content by name of every file that was uploaded. */
  files: Map<string, Buffer>;
  upload(name: string, content: Buffer): Promise<{ id: string }>;
  /** Carries out the oldest queued run. @returns how it ended, with what it reported and said. */
  performRun(signal?: AbortSignal): Promise<Run & { reports: RunProgress[]; lines: string[] }>;
  /** @returns the id of a new snapshot. */
  takeSnapshot(): Promise<string>;
}

/** @param elsewhere the target to add; a directory of its own when absent. */
export async function startStockedAppliance(elsewhere?: object): Promise<StockedAppliance> {
  const appliance = await startTestAppliance();
  const owner = await appliance.claim();
  const kit = await proveTestKit(owner);
  const place = await mkdtemp(join(quickTmpdir(), 'holdfast-target-'));
  const targetPath = join(place, 'repository');
  await mkdir(targetPath);
  const target = await expectStatus(
    owner.call<{ id: string }>('POST', '/targets', {
      ...{ name: 'copy', kind: 'directory', path: targetPath, region: 'eu-north' },
      ...elsewhere,
    }),
    201,
  );
  await trustSizes(appliance);
  const { items } = await expectStatus(
    owner.call<{ items: { id: string; rootFolderId: string }[] }>('GET', '/workspaces'),
    200,
  );
  const [workspace] = items;
  if (workspace === undefined) throw new Error('the claim made no workspace');
  const files = new Map<string, Buffer>();
  const performRun = (signal?: AbortSignal) =>
    performQueuedRun(appliance, signal ?? new AbortController().signal);
  return {
    ...appliance,
    ...{ owner, kit, targetPath, files, performRun },
    targetId: target.id,
    workspaceId: workspace.id,
    rootFolderId: workspace.rootFolderId,
    async upload(name, content) {
      const path = `/folders/${workspace.rootFolderId}/files?name=${encodeURIComponent(name)}`;
      const headers = { 'content-type': 'application/octet-stream' };
      const node = await expectStatus(owner.call<{ id: string }>('PUT', path, content, { headers }), 201);
      files.set(name, content);
      return node;
    },
    async takeSnapshot() {
      await expectStatus(owner.call('POST', '/snapshots'), 202);
      const run = await performRun();
      if (run.state !== 'succeeded')
        throw new Error(`the snapshot ${run.state}: ${JSON.stringify(run.error)}`);
      return String(run.result?.snapshotId);
    },
    async close() {
      await appliance.close();
      await rm(place, { recursive: true, force: true });
    },
  };
}

/** Some small files, one empty, one over a segment, one that does not compress. */
export async function stock(appliance: StockedAppliance): Promise<void> {
  await appliance.upload('letter.txt', Buffer.from('Dear reader,\n'.repeat(200)));
  await appliance.upload('empty', Buffer.alloc(0));
  await appliance.upload('Übergröße 日本.bin', randomBytes(2_500_000));
}

async function performQueuedRun(appliance: TestAppliance, signal: AbortSignal) {
  const { deps, dataDir, database, clock } = appliance;
  const row = await takeQueuedRun(deps.db, clock);
  if (row === undefined) throw new Error('no run is queued');
  const { keySource } = row.input as { keySource?: string };
  if (keySource !== 'recovery-kit')
    await deps.keys.lend(row.id, null, { testIdentity: true, liveKeys: true });
  const paths = dataPaths(dataDir);
  const keys = await connectKeyd({
    socketPath: paths.keydSocket,
    credentialFile: credentialPath(paths.run, 'run'),
    role: 'run',
    clock: systemClock,
  });
  const sealer = openRunSealer(keys, row.id);
  const reports: RunProgress[] = [];
  const lines: string[] = [];
  const context: RunContext = {
    runId: row.id,
    kind: row.kind as RunContext['kind'],
    input: row.input as JsonObject,
    cause: row.cause as RunContext['cause'],
    requestedBy: row.requested_by ?? undefined,
    signal,
    report: (progress) => void reports.push(structuredClone(progress)),
    step: async () => undefined,
    log: async (_level, message) => void lines.push(message),
  };
  try {
    const runDeps = {
      ...deps,
      clock,
      keys,
      sealer,
      adminAddress: database.adminAddress,
      close: async () => undefined,
    };
    const outcome = await findRunFunction(context.kind)(runDeps, context);
    await finishRun(deps.db, clock, row.id, outcome);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'internal';
    const state = signal.aborted ? 'cancelled' : 'failed';
    await finishRun(deps.db, clock, row.id, { state, error: { code, message: messageOf(error) } });
  } finally {
    sealer.close();
    await keys.close();
  }
  const ended = await findRun(deps.db, row.id);
  if (ended === undefined) throw new Error('the run is gone');
  return { ...ended, reports, lines };
}

/** Carries out the oldest queued run in a process of its own that is killed at a crash point. @returns how it ended. */
export async function killRunAt(
  appliance: TestAppliance,
  point: string,
): Promise<{ exitCode: number | null; signal: string | null }> {
  const { deps, dataDir, database, clock } = appliance;
  const row = await takeQueuedRun(deps.db, clock);
  if (row === undefined) throw new Error('no run is queued');
  await deps.keys.lend(row.id, null, { testIdentity: true, liveKeys: true });
  const here = import.meta.dirname;
  const child = startProcess(
    process.execPath,
    ['--import', join(here, 'crash-at.ts'), join(here, 'run-child.ts')],
    {
      env: childEnvironment({
        HOLDFAST_TEST_CRASH_AT: `${point}:1`,
        HOLDFAST_TEST_ORDER: JSON.stringify({
          ...{ address: database.adminAddress, appAddress: database.address, dataDir, row },
          offsetMs: clock.offsetMs,
        }),
      }),
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  const end = await endOf(child);
  const error = { code: 'unavailable', message: 'killed' };
  await finishRun(deps.db, clock, row.id, { state: 'failed', error });
  return end;
}

/**
 * Snapshots hold all databases of the server, also those of other test files, which come and go: one that seems to have shrunk would
 * keep retention from its work. Tests of that set limits of their own.
 */
async function trustSizes({ deps }: TestAppliance): Promise<void> {
  await deps.db
    .updateTable('snapshot_limits')
    .set({ least_files: 2 ** 40, least_bytes: 2 ** 40 })
    .execute();
}

/** Queues a run as the schedule does. */
export async function queueScheduledRun(
  appliance: TestAppliance,
  kind: Run['kind'],
  input: JsonObject,
): Promise<string> {
  const { deps } = appliance;
  return writeTransaction(deps.db, (tx) =>
    enqueueRun(tx, deps.clock, { id: randomUUID(), kind, input, cause: 'schedule' }),
  );
}
