/** Composes and signs the report that closes a verification or a cycle, keeps it, and puts it beside the backups that it speaks of. */
import { createHash, randomUUID } from 'node:crypto';
import { recordAudit, systemActor } from '../../audit/index.ts';
import { readSigner, signReport, type KeyClient } from '../../keys/index.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Database, WriteTransaction } from '../../lib/db.ts';
import { messageOf } from '../../lib/errors.ts';
import type { RunContext } from '../../lib/runs.ts';
import { SOFTWARE_VERSION } from '../../lib/version.ts';
import type { TargetRow } from '../queries.ts';
import { withTargetRepository, type RepositoryRunDeps } from '../target-repository.ts';
import { deleteReadings, insertReport, listReadings, putReading, type NewReport } from './queries.ts';
import { nameFewer, stateOf, summaryOf, type Reading } from './reading.ts';
import { VERIFICATION_KIND, type VerificationReport } from './report.ts';

interface MakeDeps {
  db: Database;
  /** Role `run`. */
  keys: Pick<KeyClient, 'keysObject' | 'signingCertificate' | 'signReport' | 'status'>;
}

/**
 * Signed before it is known whether the cycle is closed by it: what is kept then is kept in that one transaction.
 *
 * @param begunAt - of the cycle that this reading may close; null when it begins it.
 * @returns undefined when further parts are to come, and where nothing was kept of one (an older version read it): what is signed is about all of the cycle.
 */
export async function makeReport(
  deps: MakeDeps,
  target: Pick<TargetRow, 'id' | 'name' | 'kind' | 'region'>,
  reading: Reading,
  begunAt: Date | null,
): Promise<NewReport | undefined> {
  const { part, of } = reading;
  if (part !== of) return undefined;
  const earlier =
    of === 1 || begunAt === null
      ? []
      : (await listReadings(deps.db, target.id, begunAt)).filter((one) => one.part < part && one.of === of);
  const readings = [...earlier, reading];
  if (new Set(readings.map((one) => one.part)).size < of) return undefined;
  const content: VerificationReport = {
    ...{ kind: VERIFICATION_KIND, format: 1, id: randomUUID(), software: SOFTWARE_VERSION },
    ...(await readSigner(deps.keys)),
    number: String(reading.head?.number ?? 0),
    scope: of === 1 ? 'whole' : 'cycle',
    state: stateOf(readings),
    startedAt: begunAt === null || of === 1 ? reading.startedAt : begunAt.toISOString(),
    finishedAt: reading.finishedAt,
    target: { id: target.id, name: target.name, kind: target.kind, region: target.region },
    summary: summaryOf(readings, of),
    readings: nameFewer(readings),
  };
  const bytes = await signReport(content, (statement) => deps.keys.signReport(statement));
  return { runId: reading.runId, content, bytes, sha256: createHash('sha256').update(bytes).digest() };
}

/** What a part found waits for the report of its cycle. */
export async function keepReading(
  tx: WriteTransaction,
  targetId: string,
  { reading, begins }: { reading: Reading; begins: boolean },
): Promise<void> {
  if (begins) await deleteReadings(tx, targetId);
  await putReading(tx, targetId, { part: reading.part - 1, reading });
}

/** Of a cycle that closes without a report. */
export const dropReadings = deleteReadings;

/** The audit log has its hash, and the checkpoints of that are anchored on the targets. */
export async function keepReport(tx: WriteTransaction, clock: Clock, report: NewReport): Promise<void> {
  const { content, sha256, runId } = report;
  await deleteReadings(tx, content.target.id);
  await insertReport(tx, report);
  await recordAudit(tx, clock, systemActor('verify'), {
    action: 'backups.verification.reported',
    objectType: 'verification-report',
    objectId: content.id,
    result: content.state === 'damaged' ? 'failed' : 'done',
    detail: {
      ...{ targetId: content.target.id, scope: content.scope, state: content.state },
      ...{ reportSha256: sha256.toString('hex'), run: runId },
    },
  });
}

/** It is kept here already; beside the backups it outlives this machine. */
export async function putOnTarget(
  deps: RepositoryRunDeps,
  run: RunContext,
  target: TargetRow,
  { content, bytes }: NewReport,
): Promise<void> {
  try {
    const name = await withTargetRepository(deps, target, run, ({ writer }) =>
      writer.publishReport({
        id: content.id,
        kind: 'verification',
        createdAt: content.finishedAt,
        content: { report: bytes.toString('base64') },
      }),
    );
    await run.log('info', `${target.name}: the report of this verification lies there as ${name}`);
  } catch (error) {
    run.signal.throwIfAborted();
    await run.log('warn', `The report was not put on ${target.name}: ${messageOf(error)}`);
  }
}
