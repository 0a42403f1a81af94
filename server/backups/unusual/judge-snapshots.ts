/**
 * Marks snapshots that hold much less or much more than those before. One that shrank needs a person's word: until an administrator says
 * that it is right, retention removes none that is older (`apply-retention.ts`), since what is missing in it may lie only in those.
 */
import { recordAudit, systemActor, type Actor } from '../../audit/index.ts';
import type { Clock } from '../../lib/clock.ts';
import { writeTransaction, type Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { isShrink, judge, tellUnusual, type SizeLimits, type SourceSize, type Unusual } from './judge.ts';
import type { SnapshotLimits } from './schema.ts';
import {
  findLimits,
  findNewestJudged,
  letRetentionGoOn,
  listBefore,
  listDoubted,
  listShrunk,
  lockJudged,
  lockUnjudged,
  saveLimits,
  updateJudged,
  type JudgedRow,
} from './unusual-queries.ts';

interface JudgeDeps {
  db: Database;
  clock: Clock;
}

const COMPARED_WITH = 7;

const sourcesOf = (row: JudgedRow) => row.sources as unknown as SourceSize[];
export const unusualOf = (row: Pick<JudgedRow, 'unusual'>) => (row.unusual ?? []) as unknown as Unusual[];

/** Each minute, and before retention is carried out: those that nobody has looked at. */
export async function judgeSnapshots(deps: JudgeDeps): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const rows = await lockUnjudged(tx);
    if (rows.length === 0) return;
    const limits = await readSnapshotLimits(tx);
    for (const row of rows) {
      const before = await listBefore(tx, row, COMPARED_WITH);
      const unusual = judge(sourcesOf(row), before.map(sourcesOf), limits);
      const mark = unusual.length === 0 ? null : JSON.stringify(unusual);
      await updateJudged(tx, row.id, { judged_at: deps.clock.now(), unusual: mark });
      if (mark === null) continue;
      await recordAudit(tx, deps.clock, systemActor('snapshot'), {
        action: 'backups.snapshot.unusual',
        objectType: 'snapshot',
        objectId: row.id,
        detail: { number: row.number, unusual: unusual.map((one) => ({ ...one })) },
      });
    }
  });
}

/**
 * Somebody says that a snapshot, and those in doubt before it, are as they should be. Later ones are compared with it from then on.
 *
 * @throws HoldfastError `not_found`; `wrong_state` for one that is not in doubt.
 */
export async function acceptSnapshot(deps: JudgeDeps, actor: Actor, id: string, note: string): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const row = await lockJudged(tx, id);
    if (row === undefined) throw new HoldfastError('not_found', 'There is no such snapshot');
    if (row.unusual === null || row.accepted_at !== null) {
      throw new HoldfastError('wrong_state', 'Nothing about this snapshot waits for a word', {
        hint: 'Load the page again.',
      });
    }
    const accepted = {
      ...{ accepted_at: deps.clock.now(), accepted_by: actor.id ?? null, accepted_note: note },
    };
    const doubted = await listDoubted(tx, row.repository_id);
    for (const one of doubted) {
      if (BigInt(one.number) <= BigInt(row.number)) await updateJudged(tx, one.id, accepted);
      // Compared anew, with what is right now.
      else await updateJudged(tx, one.id, { judged_at: null, unusual: null });
    }
    await letRetentionGoOn(tx);
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.snapshot.accepted',
      objectType: 'snapshot',
      objectId: id,
      detail: { number: row.number, note, unusual: tellUnusual(unusualOf(row)) },
    });
  });
  await judgeSnapshots(deps);
}

/** The oldest snapshot that shrank and waits for a word, among those listed. */
export async function findDoubt(
  db: Database,
  listed: readonly string[],
): Promise<{ id: string; number: number; words: string } | undefined> {
  const row = (await listShrunk(db)).find(({ id }) => listed.includes(id));
  return row && { id: row.id, number: Number(row.number), words: tellUnusual(unusualOf(row)) };
}

/** What a look says of sizes. */
export async function findUnusual(
  db: Database,
): Promise<{ name: string; state: 'warn' | 'bad'; message: string; hint: string } | undefined> {
  const name = 'size of snapshots';
  const shrunk = await listShrunk(db);
  const last = shrunk.at(-1);
  if (last !== undefined) {
    const more = shrunk.length === 1 ? '' : `, and ${shrunk.length - 1} before it`;
    return {
      ...{ name, state: 'bad' },
      message: `Snapshot ${last.number}${more} holds much less than usual: ${tellUnusual(unusualOf(last))}`,
      hint: 'Look into it. Retention removes no older one until an administrator says on its page that it is right.',
    };
  }
  const newest = await findNewestJudged(db);
  if (newest?.unusual == null || newest.accepted_at !== null || isShrink(unusualOf(newest))) return undefined;
  return {
    ...{ name, state: 'warn' },
    message: `Snapshot ${newest.number} holds much more than usual: ${tellUnusual(unusualOf(newest))}`,
    hint: 'Say on its page that it is right, or look what came.',
  };
}

export async function readSnapshotLimits(db: Database): Promise<SizeLimits> {
  const row = await findLimits(db);
  return {
    ...{ shrinkPercent: row.shrink_percent, growthPercent: row.growth_percent },
    ...{ leastFiles: Number(row.least_files), leastBytes: Number(row.least_bytes) },
  };
}

/** For snapshots that come; those that were judged stay as they are. */
export async function changeSnapshotLimits(
  deps: JudgeDeps,
  actor: Actor,
  change: SnapshotLimits,
): Promise<SnapshotLimits> {
  return writeTransaction(deps.db, async (tx) => {
    const from = await readSnapshotLimits(tx);
    const { shrinkPercent, growthPercent, leastFiles, leastBytes } = change;
    await saveLimits(tx, {
      ...{ shrink_percent: shrinkPercent, growth_percent: growthPercent },
      ...{ least_files: leastFiles, least_bytes: leastBytes },
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.snapshot-limits.changed',
      objectType: 'settings',
      objectId: 'snapshot-limits',
      detail: { from: { ...from }, to: { ...change } },
    });
    return readSnapshotLimits(tx);
  });
}
