/** A moment to be restored, in an opened repository: what it takes, looked up and read before anything large is fetched. */
import type { SnapshotRecord, SourceSection } from '../engine.ts';
import { postgresFacts, type PostgresFacts } from '../database/postgres-source.ts';
import { formatLsn, parseLsn, type RecoveryPoint } from '../../lib/postgres/index.ts';
import { listNames } from '../repository/listing.ts';
import type { Repository } from '../repository/open-repository.ts';
import { openBorn } from './born-catalogue.ts';
import { fetchLog, readPiece, type FetchedLog } from './fetch-log.ts';
import { planPoint, type Base, type ChosenPoint, type PointPlan } from './plan-point.ts';
import { parseWalPieceName, WAL_PREFIX } from './wal-names.ts';
import type { WalPiece } from './wal-piece.ts';

export interface OpenedPoint {
  chosen: ChosenPoint;
  plan: PointPlan;
  snapshot: SnapshotRecord;
  /** What the last needed piece says; undefined where the snapshot alone is enough. */
  last: WalPiece | undefined;
}

/** @throws HoldfastError `not_found` with the nearest moments; `integrity_failure` when the last piece is not whole */
export async function openPoint(repository: Repository, chosen: ChosenPoint): Promise<OpenedPoint> {
  const { snapshots } = await repository.snapshots();
  const pieces = (await listNames(repository.target, WAL_PREFIX))
    .map(parseWalPieceName)
    .filter((piece) => piece !== undefined);
  const plan = planPoint(snapshots.flatMap(baseOf), pieces, chosen);
  const name = plan.pieces.at(-1);
  const last = name === undefined ? undefined : (await readPiece(repository, name)).piece;
  return { chosen, plan, snapshot: await repository.findSnapshot(plan.base.id), last };
}

/** None for a snapshot without a database that the log could go on from. */
export function baseOf(snapshot: SnapshotRecord): Base[] {
  const section = snapshot.sections.find((one) => one.kind === 'postgres');
  if (section === undefined) return [];
  const { systemId, timeline, endLsn } = section.facts as Partial<PostgresFacts>;
  if (systemId === undefined || timeline === undefined || endLsn === undefined) return [];
  const { id, number, takenAt } = snapshot;
  const life = lifeOf(snapshot);
  return [{ id, number, takenAt: new Date(takenAt), systemId, timeline, life, endLsn: parseLsn(endLsn) }];
}

function lifeOf({ facts }: SnapshotRecord): string {
  return (facts as { life?: string }).life ?? '';
}

/** Files born between the snapshot and the moment; readers of the repository find them from now on. */
export function bornUntil(repository: Repository, { snapshot, last }: OpenedPoint): Promise<SourceSection[]> {
  const after = (snapshot.facts as { bornFiles?: number }).bornFiles ?? 0;
  return openBorn(repository, { after, upTo: last?.bornFiles ?? 0 });
}

/** The log between, put where PostgreSQL's recovery reads it. @returns also how far it has to be applied */
export async function fetchUntil(
  repository: Repository,
  point: OpenedPoint,
  into: { clusterDir: string; signal: AbortSignal; progress?: (bytes: number) => void },
): Promise<FetchedLog & { until: RecoveryPoint }> {
  const { plan, chosen, snapshot } = point;
  const section = snapshot.sections.find((one) => one.kind === 'postgres');
  const facts = section === undefined ? undefined : postgresFacts(section);
  const fetched = await fetchLog({
    ...{ target: repository.target, keys: repository.keys, plan, segmentBytes: facts?.segmentBytes ?? 0 },
    ...into,
    ...(chosen.kind === 'lsn' ? { stopAt: chosen.at } : {}),
  });
  if (plan.pieces.length === 0) {
    return { ...fetched, until: { kind: 'restore-point', name: facts?.restorePoint ?? '' } };
  }
  return { ...fetched, until: chosen.kind === 'time' ? { kind: 'time', at: chosen.at } : { kind: 'end' } };
}

/** As a person reads it. */
export function wordsOfPoint(chosen: ChosenPoint): { time: string } | { lsn: string } {
  if (chosen.kind === 'time') return { time: chosen.at.toISOString() };
  return { lsn: formatLsn(chosen.at) };
}
