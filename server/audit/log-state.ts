/** How the log itself is: its tree, its newest checkpoint and who else has it, and what the last verification found. */
import { createHash, randomUUID } from 'node:crypto';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { verifierKey } from '../lib/merkle/checkpoint.ts';
import type { Run } from '../lib/run-schema.ts';
import { enqueueRun, findOpenRun, getRun } from '../lib/runs.ts';
import type { Actor } from './actor.ts';
import { findLogState, findNewestCheckpoint, findNewestVerification } from './checkpoint-queries.ts';
import type { Checkpoint } from './checkpoints.ts';
import { recordAudit } from './record-audit.ts';
import { countPending } from './search-queries.ts';
import type { LogState, TargetAnchorState } from './schema.ts';
import { treeSize } from './tree/stored-tree.ts';

/** Without a person asking. */
const VERIFY_EVERY_MS = 7 * 86_400_000;
/** So late it is said. */
const VERIFY_GRACE_MS = 86_400_000;

interface LogStateDeps {
  db: Database;
  /** Of every target in use; from the module that writes to targets. */
  listAnchors(): Promise<TargetAnchorState[]>;
}

export async function readLogState({ db, listAnchors }: LogStateDeps): Promise<LogState> {
  const [size, pending, checkpoint, state, anchors, verification, verifyingRunId] = await Promise.all([
    treeSize(db),
    countPending(db),
    findNewestCheckpoint(db),
    findLogState(db),
    listAnchors(),
    findNewestVerification(db),
    findOpenRun(db, 'audit-verify'),
  ]);
  return {
    size,
    pending,
    checkpoint: checkpoint === undefined ? null : describeCheckpoint(checkpoint),
    problem: state?.problem ?? null,
    anchors,
    verification: verification === undefined ? null : describeVerification(verification),
    verifyingRunId: verifyingRunId ?? null,
  };
}

function describeCheckpoint({ origin, size, at, note, certificate }: Checkpoint): LogState['checkpoint'] {
  const publicKey = certifiedKey(certificate);
  return {
    origin,
    size,
    at: at.toISOString(),
    note,
    verifierKey: publicKey === undefined ? null : verifierKey(origin, publicKey),
    keyFingerprint: publicKey === undefined ? null : fingerprintOf(publicKey),
  };
}

function fingerprintOf(publicKey: Buffer): string {
  return `SHA256:${createHash('sha256').update(publicKey).digest('base64').replace(/=+$/, '')}`;
}

/** Only to be shown: whoever verifies asks the trust root. */
function certifiedKey(certificate: string): Buffer | undefined {
  try {
    const { signingKey } = JSON.parse(certificate.split('\n')[1] ?? '') as {
      signingKey?: { publicKey?: unknown };
    };
    const key = Buffer.from(String(signingKey?.publicKey), 'base64');
    return key.length === 32 ? key : undefined;
  } catch {
    return undefined;
  }
}

function describeVerification({
  at,
  runId,
  report,
}: NonNullable<Awaited<ReturnType<typeof findNewestVerification>>>): LogState['verification'] {
  const { ok, size, checkpoints, findingCount, findings, notices } = report;
  return {
    at: at.toISOString(),
    runId,
    ok,
    size,
    checkpoints,
    findingCount,
    findings: findings.map(({ code, message }) => ({ code, message })),
    notices,
  };
}

interface VerifyDeps {
  db: Database;
  clock: Clock;
}

/** @throws HoldfastError `wrong_state` when the log is being verified. */
export async function requestVerification({ db, clock }: VerifyDeps, actor: Actor): Promise<Run> {
  const id = randomUUID();
  await writeTransaction(db, async (tx) => {
    const cause = actor.kind === 'console' ? 'console' : 'person';
    await enqueueRun(tx, clock, { id, kind: 'audit-verify', cause, requestedBy: actor.id });
    await recordAudit(tx, clock, actor, {
      action: 'audit.verification.requested',
      objectType: 'run',
      objectId: id,
    });
  });
  return getRun(db, id);
}

/** That it found something, or is not done in time. */
export async function findLogTrouble({
  db,
  clock,
}: VerifyDeps): Promise<{ state: 'warn' | 'bad'; message: string; hint: string } | undefined> {
  const [checkpoint, last] = await Promise.all([findNewestCheckpoint(db), findNewestVerification(db)]);
  if (checkpoint === undefined) return undefined;
  if (last?.report.ok === false) {
    const hint = 'Audit says what it found. Export the log before anything else.';
    return { state: 'bad', message: 'The newest verification of the audit log failed', hint };
  }
  const since = last?.at ?? checkpoint.at;
  if (clock.now().getTime() - since.getTime() < VERIFY_EVERY_MS + VERIFY_GRACE_MS) return undefined;
  const day = since.toISOString().slice(0, 10);
  const hint = 'It is due weekly. Look at its runs, and start it on the page Audit.';
  return { state: 'bad', message: `The audit log was not read through since ${day}`, hint };
}

/** Once a week, when nobody asked meanwhile. */
export async function verifyWhenDue({ db, clock }: VerifyDeps): Promise<void> {
  const [checkpoint, last] = await Promise.all([findNewestCheckpoint(db), findNewestVerification(db)]);
  // Before the first checkpoint nothing signed speaks for anything.
  if (checkpoint === undefined) return;
  const ageMs = last === undefined ? Infinity : Math.abs(clock.now().getTime() - last.at.getTime());
  if (ageMs < VERIFY_EVERY_MS) return;
  await writeTransaction(db, async (tx) => {
    if ((await findOpenRun(tx, 'audit-verify')) !== undefined) return;
    await enqueueRun(tx, clock, { kind: 'audit-verify', cause: 'schedule' });
  });
}
