/** When checkpoints are signed and anchored: each hour, and again for a target that was away. */
import { makeCheckpoint, readNewestCheckpoint, type CheckpointSigner } from '../audit/index.ts';
import type { KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError, messageOf } from '../lib/errors.ts';
import { enqueueRun, findOpenRun, type RunContext, type RunOutcome } from '../lib/runs.ts';
import { anchorTo, compareWhereReached, type AnchorDeps } from './anchors.ts';
import { listTargetAnchors, type TargetAnchor } from './anchor-queries.ts';
import { readQuarantine } from './quarantine.ts';

const HOUR_MS = 3_600_000;
/** After the first failure; twice as long after each further one, up to an hour. */
const FIRST_RETRY_MS = 5 * 60_000;

interface AnchorChoreDeps {
  db: Database;
  clock: Clock;
  /** Role `server`. */
  keys: CheckpointSigner & Pick<KeyClient, 'status'>;
}

/**
 * Queues the run that signs the hour's checkpoint and carries it to the targets, or carries the last one to a target that was away. Where
 * no target has a repository yet, the checkpoint is signed at once.
 */
export async function anchorWhenDue(deps: AnchorChoreDeps): Promise<void> {
  const { db, clock } = deps;
  if (!(await deps.keys.status()).repository.claimed || (await readQuarantine(db)) !== undefined) return;
  const newest = await readNewestCheckpoint(db);
  const anchors = (await listTargetAnchors(db)).filter(hasRepository);
  const signing = isHourOver(newest, clock.now());
  if (anchors.length === 0) {
    if (signing) await makeCheckpoint(deps);
    return;
  }
  const checkpoint = newest?.checkpoint;
  const behind = checkpoint !== undefined && anchors.some((anchor) => isDue(anchor, checkpoint, clock.now()));
  if (!signing && !behind) return;
  await writeTransaction(db, async (tx) => {
    if ((await findOpenRun(tx, 'audit-anchor')) !== undefined) return;
    await enqueueRun(tx, clock, { kind: 'audit-anchor', cause: 'schedule' });
  });
}

/** A clock that was set back must not stop it: the distance counts, not the direction. */
function isHourOver(newest: { triedAt: Date } | undefined, now: Date): boolean {
  return newest === undefined || Math.abs(now.getTime() - newest.triedAt.getTime()) >= HOUR_MS;
}

/** Before the first snapshot there is none, and an empty folder may be the mount point of a disk that is away. */
function hasRepository({ target }: TargetAnchor): boolean {
  return target.last_ok_at !== null;
}

/** Pure. */
function isDue(anchor: TargetAnchor, checkpoint: { origin: string; at: Date }, now: Date): boolean {
  const { newest, triedAt, failures } = anchor;
  const has = newest?.origin === checkpoint.origin && newest.at.getTime() === checkpoint.at.getTime();
  if (has) return false;
  if (triedAt === undefined || failures === 0) return true;
  const waitMs = Math.min(FIRST_RETRY_MS * 2 ** (failures - 1), HOUR_MS);
  return Math.abs(now.getTime() - triedAt.getTime()) >= waitMs;
}

interface AnchorRunDeps extends AnchorDeps {
  keys: AnchorDeps['keys'] & CheckpointSigner;
}

/** The run of kind `audit-anchor`. */
export async function runAuditAnchor(deps: AnchorRunDeps, run: RunContext): Promise<RunOutcome> {
  const targets = (await listTargetAnchors(deps.db)).filter(hasRepository);
  // Before anything is signed: what a copy of this appliance signed must not be contradicted under the same id.
  for (const { target } of targets) await compareWhereReached(deps, run, target);
  const newest = await readNewestCheckpoint(deps.db);
  const fresh = isHourOver(newest, deps.clock.now()) ? undefined : newest?.checkpoint;
  const checkpoint = fresh ?? (await makeCheckpoint(deps));
  const failures: unknown[] = [];
  for (const { target } of targets) {
    run.signal.throwIfAborted();
    await run.step(`Anchoring on ${target.name}`);
    try {
      const name = await anchorTo(deps, target, checkpoint);
      await run.log('info', `${name} lies on ${target.name}`);
    } catch (error) {
      failures.push(error);
      await run.log('error', `${target.name}: ${messageOf(error)}`);
    }
  }
  const result = { size: checkpoint.size, targets: targets.length, failed: failures.length };
  const [first] = failures;
  if (first === undefined) return { state: 'succeeded', result };
  const known = first instanceof HoldfastError ? first : undefined;
  return {
    state: failures.length < targets.length ? 'partial' : 'failed',
    result,
    error: {
      code: known?.code ?? 'internal',
      message: `The audit log's checkpoint did not reach ${failures.length === 1 ? 'a target' : `${failures.length} targets`}`,
      hint: known?.hint ?? 'It is tried again by itself. The log of this run names each target.',
    },
  };
}
