import { sql, type Insertable, type Selectable, type Updateable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { Approvals, ApprovalSettings } from '../../lib/tables.ts';

export type ApprovalRow = Selectable<Approvals>;

const PENDING = ['open', 'waiting'];

/** Whether to approve it does nothing yet: somebody may then do it. */
export function isPermit({ payload }: Pick<ApprovalRow, 'payload'>): boolean {
  return (payload as { permit?: boolean }).permit === true;
}

/** @returns false when the same act on the same object is pending already. */
export async function insertApproval(db: Database, row: Insertable<Approvals>): Promise<boolean> {
  const result = await db
    .insertInto('approvals')
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return result.numInsertedOrUpdatedRows === 1n;
}

export async function findApproval(db: Database, id: string): Promise<ApprovalRow | undefined> {
  return db.selectFrom('approvals').selectAll().where('id', '=', id).executeTakeFirst();
}

/** Locked until the transaction ends: of two decisions one finds it decided. */
export async function lockApproval(db: Database, id: string): Promise<ApprovalRow | undefined> {
  return db.selectFrom('approvals').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

export async function listApprovals(
  db: Database,
  which: 'pending' | 'past',
  limit: number,
): Promise<ApprovalRow[]> {
  return db
    .selectFrom('approvals')
    .selectAll()
    .where('state', which === 'pending' ? 'in' : 'not in', PENDING)
    .orderBy('requested_at', 'desc')
    .limit(limit)
    .execute();
}

export async function countApprovals(db: Database, which: 'pending' | 'past'): Promise<number> {
  const { count } = await db
    .selectFrom('approvals')
    .select((eb) => eb.fn.countAll<string>().as('count'))
    .where('state', which === 'pending' ? 'in' : 'not in', PENDING)
    .executeTakeFirstOrThrow();
  return Number(count);
}

/** Counts time that what waits has waited, and says anew when it will run. What is new since the last look begins at nothing. */
export async function addWaited(db: Database, now: Date, ms: number): Promise<void> {
  await sql`
    update approvals set waited_ms = w.ms,
      runs_at = least(${now}::timestamptz + (wait_ms - w.ms) * interval '1 millisecond', expires_at - interval '1 second')
    from (
      select id, case when waited_ms is null then 0 else least(waited_ms + ${ms}::bigint, wait_ms) end as ms
      from approvals where state = 'waiting' for update
    ) w
    where w.id = approvals.id`.execute(db);
}

/** Whose time has come: to run, or to expire. */
export async function listDueApprovals(db: Database, now: Date): Promise<string[]> {
  const rows = await db
    .selectFrom('approvals')
    .select('id')
    .where((eb) =>
      eb.or([
        eb.and([eb('state', '=', 'waiting'), eb('waited_ms', '>=', eb.ref('wait_ms'))]),
        eb.and([eb('state', 'in', PENDING), eb('expires_at', '<=', now)]),
      ]),
    )
    .orderBy('requested_at')
    .execute();
  return rows.map(({ id }) => id);
}

export async function updateApproval(db: Database, id: string, change: Updateable<Approvals>): Promise<void> {
  await db.updateTable('approvals').set(change).where('id', '=', id).execute();
}

export async function getApprovalSettings(db: Database): Promise<Selectable<ApprovalSettings>> {
  return db.selectFrom('approval_settings').selectAll().executeTakeFirstOrThrow();
}

export async function updateApprovalSettings(
  db: Database,
  change: { expiry_hours: number; waiting_hours: number },
): Promise<void> {
  await db.updateTable('approval_settings').set(change).execute();
}

export async function lockApprovalSettings(db: Database): Promise<void> {
  await db.selectFrom('approval_settings').select('singleton').forUpdate().execute();
}
