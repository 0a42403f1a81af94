import { sql } from 'kysely';
import type { Database, WriteTransaction } from '../lib/db.ts';

/**
 * `recovered`: it waits since it was recovered. `beside`: so too, and has not taken the repository over, because the old machine may still run.
 * `copy`: another of its kind may be at work.
 */
export type QuarantineKind = 'recovered' | 'beside' | 'copy';

export async function findQuarantine(
  db: Database,
): Promise<{ applianceId: string; kind: QuarantineKind; at: Date; reason: string } | undefined> {
  const row = await db
    .selectFrom('appliance')
    .select(['id', 'quarantined_at', 'quarantine_reason', 'quarantine_kind'])
    .where('quarantined_at', 'is not', null)
    .executeTakeFirst();
  if (row?.quarantined_at == null) return undefined;
  const kind = (row.quarantine_kind ?? 'copy') as QuarantineKind;
  return { applianceId: row.id, kind, at: row.quarantined_at, reason: row.quarantine_reason ?? '' };
}

/** Somebody has looked at what was recovered: it goes on as the appliance that it is. */
export async function letRecoveredGoOn(tx: WriteTransaction): Promise<void> {
  await tx
    .updateTable('appliance')
    .set({ quarantined_at: null, quarantine_reason: null, quarantine_kind: null, version: sql`version + 1` })
    .execute();
}

/** @returns false when it is in quarantine already. */
export async function setQuarantine(tx: WriteTransaction, now: Date, reason: string): Promise<boolean> {
  const result = await tx
    .updateTable('appliance')
    .set({ quarantined_at: now, quarantine_reason: reason, quarantine_kind: null, version: sql`version + 1` })
    .where('quarantined_at', 'is', null)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** Under a new id; the machine it runs on is learned anew. */
export async function releaseAppliance(tx: WriteTransaction, id: string, now: Date): Promise<void> {
  await tx
    .updateTable('appliance')
    .set({
      id,
      quarantined_at: null,
      quarantine_reason: null,
      quarantine_kind: null,
      quarantine_released_at: now,
      machine_identity: null,
      version: sql`version + 1`,
    })
    .execute();
}

/** True when the appliance was released after that instant. */
export async function isReleasedFor(db: Database, since: Date | null): Promise<boolean> {
  const releasedAt = await findReleasedAt(db);
  return releasedAt !== undefined && (since === null || since < releasedAt);
}

export async function findReleasedAt(db: Database): Promise<Date | undefined> {
  const row = await db.selectFrom('appliance').select('quarantine_released_at').executeTakeFirst();
  return row?.quarantine_released_at ?? undefined;
}

/** When a person said last that this is the appliance to go on with: recovered it, or released it. */
export async function findBegunAt(db: Database): Promise<Date | undefined> {
  const row = await db
    .selectFrom('appliance')
    .select(['recovered_at', 'quarantine_released_at'])
    .executeTakeFirst();
  const times = [row?.recovered_at, row?.quarantine_released_at].filter((at) => at != null);
  return times.sort((a, b) => b.getTime() - a.getTime())[0];
}

/** Notes the machine when none is noted. @returns the one that is noted. */
export async function noteMachine(tx: WriteTransaction, identity: string): Promise<string> {
  await tx
    .updateTable('appliance')
    .set({ machine_identity: identity })
    .where('machine_identity', 'is', null)
    .execute();
  const row = await tx.selectFrom('appliance').select('machine_identity').executeTakeFirstOrThrow();
  return row.machine_identity ?? identity;
}
