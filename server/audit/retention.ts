/**
 * How long entries are kept. What ends is the entry; its stub stays in its place, so that the log verifies as before. A batch is one
 * transaction with the entry that says so: a kill leaves it whole or not at all.
 */
import type { Clock } from '../lib/clock.ts';
import { crashPoint } from '../lib/crash-point.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { AskedApproval } from '../lib/shapes.ts';
import { systemActor, type Actor } from './actor.ts';
import type { EntryKind } from './entry-leaf.ts';
import { recordAudit } from './record-audit.ts';
import {
  countDueEntries,
  expireEntries,
  getRetention,
  listDueEntries,
  lockRetention,
  updateRetention,
  type RetentionRow,
} from './retention-queries.ts';
import type { Retention, RetentionChange } from './schema.ts';

interface RetentionDeps {
  db: Database;
  clock: Clock;
}

const BATCH_ENTRIES = 1_000;
const DAY_MS = 86_400_000;

export async function readRetention({ db }: Pick<RetentionDeps, 'db'>): Promise<Retention> {
  return toRetention(await getRetention(db));
}

/** As it is, held until the transaction ends. */
export async function lookAtRetention(
  tx: WriteTransaction,
): Promise<Pick<Retention, 'actsDays' | 'readsDays'>> {
  const { acts_days: actsDays, reads_days: readsDays } = await lockRetention(tx);
  return { actsDays, readsDays };
}

/** For people. */
export const SHORTER_RETENTION = 'Keep audit entries for a shorter time';

/** What asks for approval, in the transaction that would otherwise make the change. */
export type AskForRetention = (
  tx: WriteTransaction,
  request: { change: RetentionChange; consequence: string; actor: Actor & { id: string } },
) => Promise<AskedApproval>;

/**
 * Longer periods hold at once. Shorter ones take entries away for good: a person needs approval for them. Whoever is at the console
 * has the database anyway.
 *
 * @throws HoldfastError `invalid_input` without a reason.
 */
export async function changeRetention(
  { db, clock, askForRetention }: RetentionDeps & { askForRetention: AskForRetention },
  actor: Actor,
  asked: RetentionChange,
): Promise<Retention | AskedApproval> {
  const change = { ...asked, reason: asked.reason.trim() };
  if (change.reason === '') {
    throw new HoldfastError('invalid_input', 'Say why entries are kept that long', {
      hint: 'Whoever asks later, an auditor or a person concerned, reads it.',
    });
  }
  return writeTransaction(db, async (tx) => {
    const before = await lockRetention(tx);
    const lower = change.actsDays < before.acts_days || change.readsDays < before.reads_days;
    const { id } = actor;
    if (!lower || id === undefined) return applyRetention(tx, { clock }, actor, change);
    const consequence = await tellLoss(tx, clock, change);
    return askForRetention(tx, { change, consequence, actor: { ...actor, id } });
  });
}

/** Sets what was asked for and, where that was needed, approved. */
export async function applyRetention(
  tx: WriteTransaction,
  { clock }: Pick<RetentionDeps, 'clock'>,
  actor: Actor,
  { actsDays, readsDays, reason }: RetentionChange,
): Promise<Retention> {
  const row = { ...{ acts_days: actsDays, reads_days: readsDays, reason }, changed_at: clock.now() };
  const before = await updateRetention(tx, row);
  await recordAudit(tx, clock, actor, {
    action: 'audit.retention.changed',
    objectType: 'log',
    detail: {
      before: { actsDays: before.acts_days, readsDays: before.reads_days },
      after: { actsDays, readsDays },
      reason: row.reason,
    },
  });
  return toRetention(row);
}

async function tellLoss(tx: WriteTransaction, clock: Clock, change: RetentionChange): Promise<string> {
  const before = (days: number) => new Date(clock.now().getTime() - days * DAY_MS);
  const [acts, reads] = [
    await countDueEntries(tx, { kind: 'act', before: before(change.actsDays) }),
    await countDueEntries(tx, { kind: 'read', before: before(change.readsDays) }),
  ];
  const kept = `Acts are kept for ${change.actsDays} days, readings for ${change.readsDays}.`;
  return `${kept} ${acts} acts and ${reads} readings are removed for good within a day, and more every day.`;
}

/** Once a day. @returns how many entries went. */
export async function expireDueEntries(deps: RetentionDeps): Promise<number> {
  const { acts_days: acts, reads_days: reads } = await getRetention(deps.db);
  return (await expireKind(deps, 'read', reads)) + (await expireKind(deps, 'act', acts));
}

async function expireKind({ db, clock }: RetentionDeps, kind: EntryKind, days: number): Promise<number> {
  const before = new Date(clock.now().getTime() - days * DAY_MS);
  for (let gone = 0; ;) {
    const due = await listDueEntries(db, { kind, before, limit: BATCH_ENTRIES });
    if (due.length === 0) return gone;
    const count = await writeTransaction(db, async (tx) => {
      const went = await expireEntries(tx, due);
      if (went.length === 0) return 0;
      await recordAudit(tx, clock, systemActor('audit'), {
        action: 'audit.entries.expired',
        objectType: 'log',
        detail: { kind, count: went.length, before: before.toISOString() },
      });
      crashPoint('audit.expiry.recorded');
      return went.length;
    });
    crashPoint('audit.expiry.committed');
    gone += count;
    // The database's clock is behind ours: it lets none go yet.
    if (count === 0) return gone;
  }
}

function toRetention(row: RetentionRow): Retention {
  return {
    ...{ actsDays: row.acts_days, readsDays: row.reads_days, reason: row.reason },
    changedAt: row.changed_at?.toISOString() ?? null,
  };
}
