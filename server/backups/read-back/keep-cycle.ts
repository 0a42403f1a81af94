/** How far each target is with its cycle: kept, shown, and told when it is late. */
import { recordAudit, systemActor } from '../../audit/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../../lib/db.ts';
import { tellWait } from '../../lib/hours.ts';
import { nextDue } from '../../lib/schedules.ts';
import { listActiveTargets, updateTarget, type TargetRow } from '../queries.ts';
import { tellTargetWait } from '../target-hours.ts';
import type { VerifyPart } from '../repository/verify-repository.ts';
import { dropReadings, keepReading, keepReport } from '../verification-reports/make-report.ts';
import type { NewReport } from '../verification-reports/queries.ts';
import type { Reading } from '../verification-reports/reading.ts';
import { deadlineOf, goOn, type Cycle } from './cycle.ts';
import {
  findReadBack,
  putReadBack,
  readPlan,
  type ReadBackPlan,
  type ReadBackRow,
} from './read-back-queries.ts';
import type { TargetReadBack } from './schema.ts';

interface CycleDeps {
  db: Database;
  clock: Clock;
}

/** Where a target is in a cycle of so many parts. */
export async function findCycle(db: Database, targetId: string, parts: number): Promise<Cycle> {
  return cycleOf(await findReadBack(db, targetId), parts);
}

export function cycleOf(row: ReadBackRow | undefined, parts: number): Cycle {
  return goOn(row && { parts: row.parts, done: row.parts_done, startedAt: row.started_at }, parts);
}

/**
 * A part was read to its end, whatever was found in it; the last one closes the cycle. Everything read at once, a part of 1, closes it too.
 *
 * @param read - `from`: when the reading began; `report`: what is kept if this closes the cycle.
 */
export async function noteRead(
  deps: CycleDeps,
  target: Pick<TargetRow, 'id'>,
  read: {
    part: VerifyPart;
    bytes: number;
    from: Date;
    runId: string;
    reading: Reading;
    report: NewReport | undefined;
  },
): Promise<{ closed: boolean }> {
  const { part, from } = read;
  return writeTransaction(deps.db, async (tx) => {
    const now = deps.clock.now();
    const row = await findReadBack(tx, target.id);
    const whole = part.of === 1;
    const cycle = cycleOf(row, whole ? (row?.parts ?? 1) : part.of);
    // Another run was here meanwhile: what this one read is read, and the cycle goes on from there.
    if (!whole && cycle.done !== part.number) return { closed: false };
    const bytes = (whole || cycle.startedAt === null ? 0 : Number(row?.bytes_read ?? 0)) + read.bytes;
    const closed = whole || part.number + 1 === part.of;
    const last = {
      closed_at: row?.closed_at ?? null,
      closed_parts: row?.closed_parts ?? null,
      closed_bytes: row?.closed_bytes == null ? null : Number(row.closed_bytes),
    };
    await putReadBack(tx, target.id, {
      ...{ parts: cycle.parts, read_at: now },
      ...(closed
        ? { parts_done: 0, bytes_read: 0, started_at: null }
        : { parts_done: part.number + 1, bytes_read: bytes, started_at: cycle.startedAt ?? from }),
      ...(closed ? { closed_at: now, closed_parts: part.of, closed_bytes: bytes } : last),
    });
    if (!closed)
      await keepReading(tx, target.id, { reading: read.reading, begins: cycle.startedAt === null });
    else if (read.report !== undefined) await keepReport(tx, deps.clock, read.report);
    else await dropReadings(tx, target.id);
    if (closed) {
      // Each byte was whole at this instant or later; that of everything at once is noted with what it found.
      if (!whole) await updateTarget(tx, target.id, { verified: { at: cycle.startedAt ?? from } });
      await recordAudit(tx, deps.clock, systemActor('verify'), {
        action: 'backups.cycle.closed',
        objectType: 'target',
        objectId: target.id,
        detail: { parts: part.of, bytes, since: (cycle.startedAt ?? from).toISOString(), run: read.runId },
      });
    }
    return { closed };
  });
}

/** The input of its schedule: how many days, and since when, which the time of a cycle counts from. */
export async function inputOfReadBack(
  tx: WriteTransaction,
  clock: Clock,
  change: { enabled: boolean; days: number | undefined },
): Promise<{ days: number; since: string }> {
  const plan = await readPlan(tx);
  const days = change.days ?? plan.days;
  const goesOn = plan.enabled && change.enabled && days === plan.days && plan.since !== null;
  return { days, since: (goesOn && plan.since !== null ? plan.since : clock.now()).toISOString() };
}

export async function describeReadBack(
  deps: CycleDeps,
  target: Pick<TargetRow, 'id' | 'state' | 'created_at'>,
): Promise<TargetReadBack> {
  return describe(deps, target, await readPlan(deps.db));
}

async function describe(
  deps: CycleDeps,
  target: Pick<TargetRow, 'id' | 'state' | 'created_at'>,
  plan: ReadBackPlan,
): Promise<TargetReadBack> {
  const row = await findReadBack(deps.db, target.id);
  const cycle = cycleOf(row, plan.days);
  const dueAt = target.state === 'active' && plan.enabled ? dueOf(cycle, plan, target, row) : null;
  return {
    parts: cycle.parts,
    partsDone: cycle.done,
    bytesRead: cycle.startedAt === null ? 0 : Number(row?.bytes_read ?? 0),
    startedAt: cycle.startedAt?.toISOString() ?? null,
    readAt: row?.read_at?.toISOString() ?? null,
    closedAt: row?.closed_at?.toISOString() ?? null,
    closedParts: row?.closed_parts ?? null,
    closedBytes: row?.closed_bytes == null ? null : Number(row.closed_bytes),
    dueAt: dueAt?.toISOString() ?? null,
    late: dueAt !== null && deps.clock.now() > dueAt,
  };
}

function dueOf(
  cycle: Cycle,
  { cron, since }: ReadBackPlan,
  target: Pick<TargetRow, 'created_at'>,
  row: ReadBackRow | undefined,
): Date {
  const bases = [target.created_at, since, row?.closed_at ?? null].filter((at) => at !== null);
  const base = new Date(Math.max(...bases.map((at) => at.getTime())));
  return deadlineOf(cycle, nextDue(cron, base));
}

export interface LateReadBack {
  name: string;
  days: number;
  done: number;
  closedAt: Date | null;
  /** What it waits for by its hours, or those of the schedule. */
  waits: string | undefined;
}

/** Targets in use whose bytes were not all read back in the time that was set. */
export async function listLateReadBacks(deps: CycleDeps): Promise<LateReadBack[]> {
  const plan = await readPlan(deps.db);
  if (!plan.enabled) return [];
  const found: LateReadBack[] = [];
  const now = deps.clock.now();
  for (const target of await listActiveTargets(deps.db)) {
    const { late, parts, partsDone, closedAt } = await describe(deps, target, plan);
    if (!late) continue;
    found.push({
      ...{ name: target.name, days: parts, done: partsDone },
      closedAt: closedAt === null ? null : new Date(closedAt),
      waits: tellTargetWait(target, now) ?? tellWait(plan.hours, now),
    });
  }
  return found;
}
