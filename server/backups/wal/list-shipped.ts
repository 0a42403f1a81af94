/** What a target must have of the log, by what shipping remembers: a piece that somebody deleted leaves no trace on the target itself. */
import type { Clock } from '../../lib/clock.ts';
import type { Database } from '../../lib/db.ts';
import { getPointInTime } from './point-in-time-queries.ts';
import { readShipState } from './ship-state.ts';
import { walPieceName } from './wal-names.ts';

const DAY_MS = 86_400_000;

/** @returns names of pieces within the window; those that prune removed are not among them. */
export async function listShipped(
  deps: { db: Database; clock: Clock; dataDir: string },
  targetId: string,
): Promise<string[]> {
  const { window_days: days } = await getPointInTime(deps.db);
  const since = deps.clock.now().getTime() - days * DAY_MS;
  const pieces = readShipState(deps.dataDir, (view) => view.pieces(targetId)) ?? [];
  return pieces.filter((piece) => piece.atMs >= since).map(walPieceName);
}
