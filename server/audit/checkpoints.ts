/**
 * Signed heads of the log. The signer is keyd, handed in by whoever calls: it remembers what it signed last and asks for the proof
 * that this is its beginning, so a log that was changed or set back gets no further checkpoint, and says so.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { crashPoint } from '../lib/crash-point.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { LogHead } from '../lib/merkle/checkpoint.ts';
import { EMPTY_ROOT } from '../lib/merkle/hashing.ts';
import { systemActor } from './actor.ts';
import { findLogState, findNewestCheckpoint, insertCheckpoint, saveLogState } from './checkpoint-queries.ts';
import { recordAudit } from './record-audit.ts';
import { sequenceEntries } from './sequencer.ts';
import { hasPendingEntries } from './tree/tree-queries.ts';
import { readConsistencyProof, readRoot, treeSize } from './tree/stored-tree.ts';

/** What signs heads; `KeyClient` fits. */
export interface CheckpointSigner {
  auditHead(): Promise<LogHead & { at: Date | null }>;
  signCheckpoint(request: {
    after: number;
    size: number;
    root: Buffer;
    proof: readonly Buffer[];
  }): Promise<{ origin: string; at: string; note: string; certificate: string }>;
}

export interface CheckpointDeps {
  db: Database;
  clock: Clock;
  keys: CheckpointSigner;
}

export interface Checkpoint {
  origin: string;
  size: number;
  at: Date;
  /** The signed note. */
  note: string;
  certificate: string;
}

/** Another process may be placing entries: they are waited for that long. */
const SETTLE_MS = 5_000;
/** A log to which nothing was added is signed again only after this: the time is news too. */
const SAME_AGAIN_MS = 24 * 3_600_000;
/** Server and runs may sign at the same moment: the later one proves from what the earlier signed. */
const ATTEMPTS = 3;

/**
 * The newest checkpoint, made now unless nothing was added since the last one.
 *
 * @throws HoldfastError `wrong_state` before the claim; `integrity_failure` when the log does not continue what was signed before,
 *   which is then kept as the state of the log, and entered in it once.
 */
export async function makeCheckpoint(deps: CheckpointDeps): Promise<Checkpoint> {
  try {
    await settleEntries(deps);
    const checkpoint = await signWithRetries(deps);
    await noteTry(deps, undefined);
    return checkpoint;
  } catch (error) {
    if (error instanceof HoldfastError && error.code !== 'wrong_state') await noteTry(deps, error);
    throw error;
  }
}

/** The newest checkpoint there is, and when one was last tried for. */
export async function readNewestCheckpoint(
  db: Database,
): Promise<{ checkpoint: Checkpoint | undefined; triedAt: Date } | undefined> {
  const [checkpoint, state] = await Promise.all([findNewestCheckpoint(db), findLogState(db)]);
  const triedAt = state?.triedAt ?? checkpoint?.at;
  return triedAt === undefined ? undefined : { checkpoint, triedAt };
}

async function signWithRetries(deps: CheckpointDeps): Promise<Checkpoint> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await signNewest(deps);
    } catch (error) {
      const raced = error instanceof HoldfastError && error.code === 'conflict';
      if (!raced || attempt === ATTEMPTS) throw error;
    }
  }
}

async function noteTry({ db, clock }: CheckpointDeps, error: HoldfastError | undefined): Promise<void> {
  await writeTransaction(db, async (tx) => {
    const before = await findLogState(tx);
    const problem = error && {
      code: error.code,
      message: error.message,
      ...(error.hint ? { hint: error.hint } : {}),
    };
    await saveLogState(tx, { triedAt: clock.now(), problem });
    if (problem?.code !== 'integrity_failure' || before?.problem?.code === problem.code) return;
    await recordAudit(tx, clock, systemActor('audit'), {
      action: 'audit.checkpoint.refused',
      objectType: 'log',
      result: 'failed',
      detail: { reason: problem.message },
    });
  });
}

/** Places what is committed. */
async function settleEntries({ db, clock }: CheckpointDeps): Promise<void> {
  const until = clock.monotonicMs() + SETTLE_MS;
  do {
    await sequenceEntries(db);
    if (!(await hasPendingEntries(db))) return;
    await delay(50);
  } while (clock.monotonicMs() < until);
}

async function signNewest(deps: CheckpointDeps): Promise<Checkpoint> {
  const { db, clock, keys } = deps;
  const signed = await keys.auditHead();
  const last = await findNewestCheckpoint(db);
  if (last !== undefined && last.origin !== signed.origin)
    await recordContinuation(deps, last, signed.origin);
  const size = await treeSize(db);
  const ageMs = last === undefined ? Infinity : Math.abs(clock.now().getTime() - last.at.getTime());
  const known = last?.origin === signed.origin && last.size === size && signed.size === size;
  if (known && ageMs < SAME_AGAIN_MS) return last;
  if (size < signed.size) throw shorterLog(signed.size, size);
  const root = size === 0 ? EMPTY_ROOT : await readRoot(db, size);
  const proof = await readConsistencyProof(db, signed.size, size);
  const made = await keys.signCheckpoint({ after: signed.size, size, root, proof });
  crashPoint('audit.checkpoint.signed');
  const checkpoint = { ...made, size, at: new Date(made.at) };
  await writeTransaction(db, (tx) => insertCheckpoint(tx, checkpoint));
  crashPoint('audit.checkpoint.recorded');
  return checkpoint;
}

/**
 * The log goes on under a new id: the appliance was recovered, or an owner said that a state that was set back is the one to go on
 * with. It says so itself, in the first checkpoint of the new id already.
 */
async function recordContinuation(deps: CheckpointDeps, last: Checkpoint, origin: string): Promise<void> {
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, systemActor('audit'), {
      action: 'audit.log.continued',
      objectType: 'log',
      objectId: origin,
      detail: { before: last.origin, size: last.size },
    }),
  );
  await settleEntries(deps);
}

function shorterLog(signed: number, size: number): HoldfastError {
  return new HoldfastError(
    'integrity_failure',
    'The audit log is shorter than what was signed of it before',
    {
      hint: 'Somebody changed the database past Holdfast, or it was set back. Export the log and verify it against the anchors.',
      detail: `signed ${signed}, here ${size}`,
    },
  );
}
