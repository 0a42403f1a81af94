/** Permits, with the requests that they came of; of those only what was asked for is read. */
import { sql, type Insertable, type Updateable } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { SetBackPermits } from '../../lib/tables.ts';

interface Point {
  snapshot: string;
  moment?: string | undefined;
}

/** Each moment after a snapshot is asked for on its own, and the snapshot as it is too. */
function ofMoment(moment: string | undefined) {
  return sql<boolean>`approvals.payload ->> 'moment' is not distinct from ${moment ?? null}::text`;
}

export async function insertPermit(db: Database, row: Insertable<SetBackPermits>): Promise<void> {
  await db.insertInto('set_back_permits').values(row).execute();
}

export async function updatePermit(
  db: Database,
  approvalId: string,
  change: Updateable<SetBackPermits>,
): Promise<void> {
  await db.updateTable('set_back_permits').set(change).where('approval_id', '=', approvalId).execute();
}

/** The newest unused one of a point, held until the transaction ends: of two who use it one comes too late. */
export async function lockOpenPermit(db: Database, { snapshot, moment }: Point) {
  return withRequest(db)
    .where('set_back_permits.snapshot_id', '=', snapshot)
    .where(ofMoment(moment))
    .where('set_back_permits.state', '=', 'open')
    .orderBy('given_at', 'desc')
    .limit(1)
    .forUpdate('set_back_permits')
    .executeTakeFirst();
}

export async function lockPermit(db: Database, approvalId: string) {
  return withRequest(db)
    .where('approval_id', '=', approvalId)
    .forUpdate('set_back_permits')
    .executeTakeFirst();
}

export async function listOpenPermits(db: Database): Promise<string[]> {
  const rows = await db
    .selectFrom('set_back_permits')
    .select('approval_id')
    .where('state', '=', 'open')
    .execute();
  return rows.map((row) => row.approval_id);
}

/** What was asked for last about a point, and its permit. */
export async function findNewestRequest(db: Database, act: string, { snapshot, moment }: Point) {
  return db
    .selectFrom('approvals')
    .leftJoin('set_back_permits', 'set_back_permits.approval_id', 'approvals.id')
    .selectAll('approvals')
    .select(['set_back_permits.state as permit_state', 'set_back_permits.expires_at as permit_expires_at'])
    .select(['set_back_permits.ended_at as permit_ended_at', 'set_back_permits.ended_by as permit_ended_by'])
    .where('approvals.act', '=', act)
    .where('approvals.object_id', '=', snapshot)
    .where(ofMoment(moment))
    .orderBy('requested_at', 'desc')
    .limit(1)
    .executeTakeFirst();
}
export type RequestRow = NonNullable<Awaited<ReturnType<typeof findNewestRequest>>>;

function withRequest(db: Database) {
  return db
    .selectFrom('set_back_permits')
    .innerJoin('approvals', 'approvals.id', 'set_back_permits.approval_id')
    .selectAll('set_back_permits')
    .select(['approvals.reason', 'approvals.payload', 'approvals.seen', 'approvals.requested_by'])
    .select('approvals.decided_by');
}
