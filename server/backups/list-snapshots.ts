/** Snapshots as people see them: their facts, where they lie, and the best proof there is. */
import { recordAudit, type Actor } from '../audit/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Run } from '../lib/run-schema.ts';
import { enqueueRun, getRun } from '../lib/runs.ts';
import { describeHolds } from './holds.ts';
import { describeUnusual } from './unusual/describe-unusual.ts';
import type { PlacedExpiry } from './copy-queries.ts';
import { requireTargets } from './manage-targets.ts';
import {
  countSnapshots,
  getSnapshot,
  listSnapshotProofs,
  listSnapshots,
  listSnapshotTargets,
  type SnapshotProofRow,
  type SnapshotRow,
  type SnapshotTargetRow,
} from './queries.ts';
import type { Snapshot, SnapshotState } from './schema.ts';

export interface SnapshotDeps {
  db: Database;
  clock: Clock;
}

type DescribeDeps = SnapshotDeps & Parameters<typeof describeHolds>[0];

interface PageRequest {
  cursor?: string;
  limit?: number;
  state?: SnapshotState;
  held?: boolean;
  order?: 'asc' | 'desc';
}

export async function showSnapshots(
  deps: DescribeDeps,
  request: PageRequest,
): Promise<{ items: Snapshot[]; total: number; nextCursor: string | null }> {
  const limit = request.limit ?? 50;
  const after = request.cursor === undefined ? undefined : readCursor(request.cursor);
  const filter = { state: request.state, held: request.held };
  const [rows, total] = await Promise.all([
    listSnapshots(deps.db, { ...filter, order: request.order ?? 'desc', after, limit: limit + 1 }),
    countSnapshots(deps.db, filter),
  ]);
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  return {
    items: await describeSnapshots(deps, page),
    total,
    nextCursor: rows.length > limit && last !== undefined ? last.number : null,
  };
}

/** @throws HoldfastError `invalid_input` */
export function readCursor(cursor: string): string {
  if (/^\d{1,18}$/.test(cursor)) return cursor;
  throw new HoldfastError('invalid_input', 'This page address is not valid', {
    hint: 'Start again from the first page.',
  });
}

export async function showSnapshot(deps: DescribeDeps, id: string): Promise<Snapshot> {
  const row = await getSnapshot(deps.db, id);
  const [snapshot] = await describeSnapshots(deps, [row]);
  if (snapshot === undefined) throw new HoldfastError('not_found', 'There is no such snapshot');
  return snapshot;
}

async function describeSnapshots(deps: DescribeDeps, rows: readonly SnapshotRow[]): Promise<Snapshot[]> {
  const ids = rows.map((row) => row.id);
  const [places, proofs, holds, unusual] = await Promise.all([
    listSnapshotTargets(deps.db, ids),
    listSnapshotProofs(deps.db, ids),
    describeHolds(deps, ids),
    describeUnusual(deps, rows),
  ]);
  return rows.map((row) =>
    toSnapshot(
      row,
      places.filter((place) => place.snapshot_id === row.id),
      proofs.find((proof) => proof.snapshot_id === row.id),
      { hold: holds.get(row.id) ?? null, unusual: unusual.get(row.id) ?? null },
    ),
  );
}

function toSnapshot(
  row: SnapshotRow,
  places: readonly SnapshotTargetRow[],
  proof: SnapshotProofRow | undefined,
  marks: Pick<Snapshot, 'hold' | 'unusual'>,
): Snapshot {
  return {
    id: row.id,
    number: row.number,
    state: row.state as SnapshotState,
    takenAt: row.taken_at.toISOString(),
    storedAt: row.stored_at?.toISOString() ?? null,
    fileCount: Number(row.file_count),
    sizeBytes: Number(row.size_bytes),
    addedBytes: Number(row.added_bytes),
    storedBytes: Number(row.stored_bytes),
    durationMs: Number(row.duration_ms),
    keyringEpoch: row.keyring_epoch,
    restorePoint: row.restore_point,
    targets: places.map((place) => ({
      ...{ id: place.target_id, name: place.target_name, state: place.state },
      inUse: place.target_state === 'active',
      storedAt: place.stored_at?.toISOString() ?? null,
      forgottenBecause: place.state === 'forgotten' ? place.forgotten_because : null,
      expired: (place.expired ?? []) as unknown as PlacedExpiry[],
    })),
    problems: row.problems as Snapshot['problems'],
    proof:
      proof?.finished_at == null
        ? null
        : {
            restoreTestId: proof.id,
            grade: proof.grade as 'data-proven' | 'kit-proven',
            at: proof.finished_at.toISOString(),
          },
    ...marks,
    forgotten:
      row.state === 'forgotten'
        ? { at: row.forgotten_at?.toISOString() ?? null, because: row.forgotten_because }
        : null,
    runId: row.run_id,
  };
}

/** What a person agrees to when the repository is not as it should be. */
export interface SnapshotConsent {
  /** Go on although the target lost or changed heads: what this appliance knows becomes the truth there. */
  acceptWarnings?: boolean | undefined;
  /** Take the repository over from another appliance, which is off for good. */
  takeOver?: boolean | undefined;
}

/** Warnings that stop a writer until a person agreed. */
const CONFIRMED = ['older_head', 'forked_head', 'no_head'];

/** Queues a snapshot. @throws HoldfastError `wrong_state` without a target, or while one is under way. */
export async function requestSnapshot(
  deps: SnapshotDeps,
  actor: Actor,
  consent: SnapshotConsent = {},
): Promise<Run> {
  await requireTargets(deps.db);
  const agreed = {
    ...(consent.acceptWarnings === true ? { confirmed: CONFIRMED } : {}),
    ...(consent.takeOver === true ? { takeOver: true } : {}),
  };
  const id = await writeTransaction(deps.db, async (tx) => {
    const runId = await enqueueRun(tx, deps.clock, {
      kind: 'snapshot',
      input: agreed,
      cause: actor.kind === 'console' ? 'console' : 'person',
      requestedBy: actor.id,
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.snapshot.requested',
      objectType: 'run',
      objectId: runId,
      detail: agreed,
    });
    return runId;
  });
  return getRun(deps.db, id);
}

/** Queues other work on the repository, such as reading back everything that is stored. */
export async function requestRepositoryRun(
  deps: SnapshotDeps,
  actor: Actor,
  kind: 'verify' | 'prune',
  input: Record<string, string | boolean> = {},
): Promise<Run> {
  await requireTargets(deps.db);
  const id = await writeTransaction(deps.db, async (tx) => {
    const runId = await enqueueRun(tx, deps.clock, {
      kind,
      input,
      cause: actor.kind === 'console' ? 'console' : 'person',
      requestedBy: actor.id,
    });
    await recordAudit(tx, deps.clock, actor, {
      action: `backups.${kind}.requested`,
      objectType: 'run',
      objectId: runId,
      detail: input,
    });
    return runId;
  });
  return getRun(deps.db, id);
}
