/** Writes entries as acts do, for tests of the log. */
import { randomUUID } from 'node:crypto';
import { recordAudit, systemActor, type Actor, type AuditRecord } from '../../server/audit/index.ts';
import { systemClock, type Clock } from '../../server/lib/clock.ts';
import { writeTransaction, type Database } from '../../server/lib/db.ts';

const ACTOR = systemActor('tests');

export interface EntryOptions {
  actor?: Actor;
  clock?: Clock;
}

/** @returns the entry's id. */
export async function writeEntry(
  db: Database,
  record: Partial<AuditRecord> = {},
  { actor = ACTOR, clock = systemClock }: EntryOptions = {},
): Promise<string> {
  const id = record.id ?? randomUUID();
  await writeTransaction(db, (tx) =>
    recordAudit(tx, clock, actor, { action: 'tests.thing.done', objectType: 'thing', ...record, id }),
  );
  return id;
}

export async function writeEntries(
  db: Database,
  count: number,
  record: Partial<AuditRecord> = {},
): Promise<void> {
  for (let written = 0; written < count; written += 100) {
    await writeTransaction(db, async (tx) => {
      for (let at = written; at < Math.min(count, written + 100); at += 1) {
        const entry = { action: 'tests.thing.done', objectType: 'thing', detail: { at }, ...record };
        await recordAudit(tx, systemClock, ACTOR, entry);
      }
    });
  }
}
