/**
 * The run of kind `update-rehearsal`: the database of the newest snapshot is restored to scratch, the new version's migrations
 * run on it out of its bundle, and this version then looks whether it could still work with what came of it. Nothing live is
 * touched; scratch is wiped, whatever happened.
 */
import { join } from 'node:path';
import {
  DATABASE_SECTION,
  findNewestStored,
  postgresFacts,
  type RepositoryRunDeps,
  type SourceSection,
  startScratchDatabase,
  withSnapshot,
  partOf,
} from '../../backups/index.ts';
import { crashPoint } from '../../lib/crash-point.ts';
import { dataPaths, scratchClusterDir, wipeScratch } from '../../lib/data-folder.ts';
import { openDatabase, type DatabaseAddress } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { makePrivateDirectory } from '../../lib/files.ts';
import { findUnusable } from '../../lib/migrate.ts';
import {
  beginReadOnly,
  grantAppRights,
  readTableFacts,
  withClient,
  type TableFacts,
} from '../../lib/postgres/index.ts';
import type { RunContext, RunOutcome } from '../../lib/runs.ts';
import type { Config } from '../../lib/config.ts';
import { connectHost, requireHost } from '../host/client.ts';
import { rehearsalSocket, type RehearseRequest } from '../host/updates/rehearsal-app.ts';
import type { MigrationAnswer } from '../host/updates/rehearsal.ts';
import type { RehearsalReport } from '../host/updates/schema.ts';
import { compareColumns, compareRows } from './comparison.ts';
import { readColumns, type ColumnFact } from './queries.ts';

const RECOVERY_TIMEOUT_MS = 30 * 60_000;
const NAME = 'holdfast rehearsal';

/** As long as hostd gives the new version's program, and some more. */
const MIGRATION_TIMEOUT_MS = 35 * 60_000;

export interface RehearsalDeps extends RepositoryRunDeps {
  config: Pick<Config, 'hostSocket'>;
}

/** @throws HoldfastError with the reason, in words, why the update may not be installed. */
export async function runUpdateRehearsal(deps: RehearsalDeps, run: RunContext): Promise<RunOutcome> {
  const { updateId } = run.input;
  if (typeof updateId !== 'string') throw new HoldfastError('internal', 'A rehearsal without an update');
  const newest = await findNewestStored(deps.db);
  if (newest === undefined) {
    throw new HoldfastError('wrong_state', 'There is no snapshot to rehearse the update on', {
      hint: 'Set up a target and take a snapshot first.',
    });
  }
  const scratchDir = join(dataPaths(deps.dataDir).scratch, run.runId);
  try {
    await makePrivateDirectory(scratchDir);
    const section = await restoreDatabase(deps, run, newest, scratchClusterDir(scratchDir));
    crashPoint('rehearsal.restored');
    const report = await rehearse(deps, run, { updateId, scratchDir, section, newest });
    return { state: 'succeeded', result: { updateId, report } };
  } finally {
    await wipeScratch(scratchDir);
  }
}

async function restoreDatabase(
  deps: RehearsalDeps,
  run: RunContext,
  wanted: { targetId: string; snapshotId: string; takenAt: Date },
  to: string,
): Promise<SourceSection> {
  await run.step('Restoring the newest snapshot to scratch');
  await run.log('info', `Rehearsing on the snapshot of ${wanted.takenAt.toISOString()}`);
  return withSnapshot(deps, run, wanted, async ({ snapshot, reader }) => {
    const section = partOf(snapshot, DATABASE_SECTION, () => damaged('it holds no database'));
    const restored = await reader.restoreSection(section, to, {
      signal: run.signal,
      progress: ({ bytesDone, bytesTotal }) =>
        run.report({ bytesDone, ...(bytesTotal === undefined ? {} : { bytesTotal }) }),
    });
    if (restored.problemCount > 0) throw damaged(`${String(restored.problemCount)} of its files are damaged`);
    return section;
  });
}

function damaged(why: string): HoldfastError {
  return new HoldfastError('integrity_failure', `The newest snapshot cannot be restored: ${why}`, {
    hint: 'Take a new snapshot and run a restore test before you update.',
  });
}

interface Scene {
  updateId: string;
  scratchDir: string;
  section: SourceSection;
  newest: { snapshotId: string };
}

interface DatabaseFacts {
  tables: TableFacts[];
  columns: ColumnFact[];
}

async function rehearse(deps: RehearsalDeps, run: RunContext, scene: Scene): Promise<RehearsalReport> {
  const { scratchDir } = scene;
  await run.step('Starting a private database on the copy');
  const facts = postgresFacts(scene.section);
  const scratch = await startScratchDatabase({ scratchDir, facts, timeoutMs: RECOVERY_TIMEOUT_MS });
  try {
    const before = await readFacts(scratch.address, run.signal);
    await run.step('Running the migrations of the new version on the copy');
    const { superuser: role, database } = facts;
    const request = { updateId: scene.updateId, runId: run.runId, role, database };
    const answer = await tryMigrations(deps, request);
    crashPoint('rehearsal.migrated');
    await run.step('Looking whether this version still works with it');
    await refuseOneWay(scratch.address);
    const after = await readFacts(scratch.address, run.signal);
    const notes = compareFacts(before, after);
    for (const note of notes) await run.log('info', note);
    const seconds = (answer.durationMs / 1000).toFixed(1);
    await run.log('info', `${String(answer.applied.length)} migrations in ${seconds} s`);
    return {
      runId: run.runId,
      snapshotId: scene.newest.snapshotId,
      applied: answer.applied,
      durationMs: answer.durationMs,
      tables: after.tables.length,
      rowsBefore: sumRows(before.tables),
      rowsAfter: sumRows(after.tables),
      notes: notes.slice(0, 100),
    };
  } finally {
    await scratch.stop();
  }
}

/** hostd runs the new version's program on the scratch server's socket. @throws HoldfastError with the reason why it fails. */
function tryMigrations(deps: RehearsalDeps, request: RehearseRequest): Promise<MigrationAnswer> {
  const { hostSocket } = deps.config;
  const host = requireHost(
    connectHost({ hostSocket: hostSocket === undefined ? undefined : rehearsalSocket(hostSocket) }),
  );
  return host.send<MigrationAnswer>('POST', '/rehearse', request, MIGRATION_TIMEOUT_MS);
}

/** As this version's own start does it: rights given anew, every table counted. */
async function readFacts(address: DatabaseAddress, signal: AbortSignal): Promise<DatabaseFacts> {
  return withClient(address, NAME, async (client) => {
    await grantAppRights(client);
    await beginReadOnly(client);
    const columns = await readColumns(client);
    const tables = await readTableFacts(client, { digests: false, signal });
    return { columns, tables };
  });
}

/** After the new version ran, the machine may have to go back to this one: the schema must let it start. */
async function refuseOneWay(address: DatabaseAddress): Promise<void> {
  const db = openDatabase(address, { name: NAME, max: 1 });
  try {
    const unusable = await findUnusable(db);
    if (unusable.length > 0)
      throw oneWay(`its migrations do not say that this version may work with them: ${unusable.join(', ')}`);
  } finally {
    await db.destroy();
  }
}

/** @returns notes for people. @throws HoldfastError when this version could not work with it. */
function compareFacts(before: DatabaseFacts, after: DatabaseFacts): string[] {
  const broken = compareColumns(before.columns, after.columns);
  if (broken.length > 0) throw oneWay(broken.slice(0, 5).join('; '));
  return compareRows(before.tables, after.tables);
}

function oneWay(why: string): HoldfastError {
  return new HoldfastError('invalid_input', `After this update there would be no way back: ${why}`, {
    hint: 'The update is not installed, and nothing was changed. Send this to the publisher: a release must work with the schema of the one before it.',
  });
}

function sumRows(tables: readonly TableFacts[]): string {
  return tables.reduce((sum, table) => sum + BigInt(table.rows), 0n).toString();
}
