/** How far each target is with reading back what it holds, and what the schedule wants. */
import { sql, type Selectable } from 'kysely';
import type { Database, WriteTransaction } from '../../lib/db.ts';
import { mayBegin, type WorkHours } from '../../lib/hours.ts';
import type { Runs, TargetReadBacks } from '../../lib/tables.ts';

export type ReadBackRow = Selectable<TargetReadBacks>;

export async function findReadBack(db: Database, targetId: string): Promise<ReadBackRow | undefined> {
  return db.selectFrom('target_read_backs').selectAll().where('target_id', '=', targetId).executeTakeFirst();
}

export async function putReadBack(
  tx: WriteTransaction,
  targetId: string,
  row: Omit<ReadBackRow, 'target_id' | 'bytes_read' | 'closed_bytes'> & {
    bytes_read: number;
    closed_bytes: number | null;
  },
): Promise<void> {
  await tx
    .insertInto('target_read_backs')
    .values({ target_id: targetId, ...row })
    .onConflict((conflict) => conflict.column('target_id').doUpdateSet(row))
    .execute();
}

/** Names of objects that were found damaged and that no catalogue remembers. */
export async function listDamage(db: Database, targetId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('target_damage')
    .select('object')
    .where('target_id', '=', targetId)
    .orderBy('object')
    .execute();
  return rows.map((row) => row.object);
}

/** What is not among these is whole by now, or gone. */
export async function replaceDamage(
  tx: WriteTransaction,
  targetId: string,
  damage: { objects: readonly string[]; now: Date },
): Promise<void> {
  const objects = [...damage.objects];
  await tx
    .deleteFrom('target_damage')
    .where('target_id', '=', targetId)
    .where(sql<boolean>`object <> all(${objects}::text[])`)
    .execute();
  if (objects.length === 0) return;
  await tx
    .insertInto('target_damage')
    .values(objects.map((object) => ({ target_id: targetId, object, found_at: damage.now })))
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

export interface ReadBackPlan {
  enabled: boolean;
  cron: string;
  /** Of a cycle: everything is read once in so many. */
  days: number;
  /** Since when it is so; null before it was ever set. */
  since: Date | null;
  nextDueAt: Date | null;
  /** For which a run was queued the last time. */
  lastDueAt: Date | null;
  /** When a part may be begun that nobody asked for. */
  hours: WorkHours | null;
}

export const PROPOSED_DAYS = 30;

export async function readPlan(db: Database): Promise<ReadBackPlan> {
  const row = await db.selectFrom('schedules').selectAll().where('name', '=', 'verify').executeTakeFirst();
  const input = (row?.input ?? {}) as { days?: number; since?: string };
  return {
    enabled: row?.enabled ?? false,
    cron: row?.cron ?? '',
    days: input.days ?? PROPOSED_DAYS,
    since: input.since === undefined ? null : new Date(input.since),
    nextDueAt: row?.enabled === true ? row.next_due_at : null,
    lastDueAt: row?.last_due_at ?? null,
    hours: (row?.hours ?? null) as WorkHours | null,
  };
}

/** Whether a snapshot waits for its turn: nothing that can wait keeps it. One that waits for its hours keeps nothing else. */
export async function isSnapshotDue(db: Database, now: Date): Promise<boolean> {
  const row = await db
    .selectFrom('schedules')
    .select('hours')
    .where('name', '=', 'snapshot')
    .where('enabled', '=', true)
    .where('next_due_at', '<=', now)
    .executeTakeFirst();
  return row !== undefined && mayBegin(row.hours as WorkHours | null, now);
}

/** The last run that read this target back and has ended, alone or with others. */
export async function findLastReading(
  db: Database,
  targetId: string,
): Promise<Pick<Selectable<Runs>, 'state' | 'result' | 'error' | 'finished_at'> | undefined> {
  return db
    .selectFrom('runs')
    .select(['state', 'result', 'error', 'finished_at'])
    .where('kind', '=', 'verify')
    .where('finished_at', 'is not', null)
    .where(sql<boolean>`coalesce(input ->> 'targetId', ${targetId}) = ${targetId}`)
    .orderBy('finished_at', 'desc')
    .limit(1)
    .executeTakeFirst();
}
