/** What a target lacks of the snapshots that others have, and would keep by its own policy. Told from the rows; a run asks the heads. */
import type { Clock } from '../lib/clock.ts';
import type { Database } from '../lib/db.ts';
import { agreedOf } from './apply-retention.ts';
import { listStoredOn, listWanting } from './copy-queries.ts';
import { listActiveTargets, type TargetRow } from './queries.ts';
import { tellTargetWait } from './target-hours.ts';
import { decide } from './retention/decide.ts';
import { findRetention, listRetained, policyOf } from './retention-queries.ts';

export interface LackedSnapshot {
  id: string;
  number: number;
  takenAt: Date;
  /** What was written when it was taken: more or less what is to be copied. */
  storedBytes: number;
}

interface LackingDeps {
  db: Database;
  clock: Clock;
}

const LATE_MS = 3_600_000;

/** Oldest first. */
export async function findLacking(
  deps: LackingDeps,
  target: Pick<TargetRow, 'id' | 'catalogue' | 'copy_from'>,
): Promise<LackedSnapshot[]> {
  const wanting = new Set(await listWanting(deps.db, target));
  if (wanting.size === 0) return [];
  const row = await findRetention(deps.db, target.id);
  const together = [...(await listStoredOn(deps.db, target.id)), ...wanting];
  const retained = await listRetained(deps.db, target.id, together);
  const decisions = decide(retained, policyOf(row), { now: deps.clock.now(), agreed: agreedOf(row) });
  const bytes = new Map(retained.map((one) => [one.id, one.storedBytes]));
  return decisions
    .filter(({ keep, snapshot }) => keep && wanting.has(snapshot.id))
    .map(({ snapshot: { id, number, takenAt } }) => ({
      id,
      number,
      takenAt,
      storedBytes: bytes.get(id) ?? 0,
    }))
    .sort((a, b) => a.number - b.number);
}

/** Targets in use that lack something which another one has had for an hour: what is on its way is no news. */
export async function listBehind(
  deps: LackingDeps,
): Promise<{ name: string; count: number; since: Date; waits: string | undefined }[]> {
  const targets = await listActiveTargets(deps.db);
  if (targets.length < 2) return [];
  const found = [];
  const now = deps.clock.now();
  const late = now.getTime() - LATE_MS;
  for (const target of targets) {
    const lacking = await findLacking(deps, target);
    const [first] = lacking;
    if (first === undefined || first.takenAt.getTime() > late) continue;
    const waits = tellTargetWait(target, now);
    found.push({ name: target.name, count: lacking.length, since: first.takenAt, waits });
  }
  return found;
}
