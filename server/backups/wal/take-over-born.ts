/** What a snapshot and a prune know of shipping on their target; and packs that shipping wrote, put into the index for good. */
import type { Database } from '../../lib/db.ts';
import { formatLsn } from '../../lib/postgres/index.ts';
import type { RepositoryWriter } from '../repository/writer.ts';
import type { LogKnowledge } from './log-needs.ts';
import { getPointInTime } from './point-in-time-queries.ts';
import { openShipState, readShipState } from './ship-state.ts';
import { parseBornName, parseWalPieceName } from './wal-names.ts';

/** What a snapshot is told, and what is noted after its head is published. */
export interface TakenOver {
  /** Number up to which it has the files that were born, on whichever target; undefined when nothing was ever shipped. */
  bornFiles: number | undefined;
  /** The last list of this target whose packs are in the index now. */
  upTo: number | undefined;
}

/**
 * What comes, a snapshot or the copy of one, does not store again what shipping has stored there since the last one. Before the files
 * are looked at, and before what is stored there is looked up.
 */
export async function takeOverBorn(
  dataDir: string,
  targetId: string,
  writer: Pick<RepositoryWriter, 'publishIndex' | 'flush'>,
): Promise<TakenOver> {
  const known = readShipState(dataDir, (view) => ({ born: view.born(targetId), last: view.lastBorn() }));
  const fresh = (known?.born ?? []).filter((record) => !record.takenOver);
  if (fresh.length > 0) {
    await writer.publishIndex(fresh.flatMap((record) => record.packs));
    await writer.flush();
  }
  return { bornFiles: known?.last, upTo: fresh.at(-1)?.number };
}

/** After the head that lists that index is published. */
export function noteTakenOver(dataDir: string, targetId: string, { upTo }: TakenOver): void {
  if (upTo === undefined) return;
  const state = openShipState(dataDir);
  try {
    state.takenOver(targetId, upTo);
  } finally {
    state.close();
  }
}

export async function readLogKnowledge(
  deps: { db: Database; dataDir: string },
  targetId: string,
): Promise<LogKnowledge> {
  const { window_days: windowDays } = await getPointInTime(deps.db);
  const born = readShipState(deps.dataDir, (view) => view.born(targetId)) ?? [];
  const at = readShipState(deps.dataDir, (view) => view.find(targetId));
  const packs = new Map(born.map((record) => [record.sha256, record.packs.map((pack) => pack.id)]));
  return {
    windowDays,
    position:
      at?.previous == null || at.timeline === 0
        ? null
        : {
            piece: [at.number, at.previous],
            to: formatLsn(at.position),
            completeAt: at.completeAt.toISOString(),
          },
    packsOf: (sha256) => packs.get(sha256),
    removed(names) {
      const gone = names
        .map((name) => (parseWalPieceName(name) ?? parseBornName(name))?.sha256)
        .filter((sha256) => sha256 !== undefined);
      if (gone.length === 0 || readShipState(deps.dataDir, () => true) !== true) return;
      const state = openShipState(deps.dataDir);
      try {
        state.removed(targetId, gone);
      } finally {
        state.close();
      }
    },
  };
}
