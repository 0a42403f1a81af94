/** What a set-back asks of the tables of the modules to the left: where a snapshot lies, and what was written since. Read only. */
import { sql } from 'kysely';
import type { Database } from '../../lib/db.ts';
import type { WrittenSince } from './schema.ts';

export interface SnapshotPlace {
  id: string;
  number: number;
  takenAt: Date;
  sizeBytes: number;
  targetId: string;
  targetName: string;
  /** Names what is remembered of it. */
  catalogue: string;
  kind: string;
  /** Of a directory target. */
  path: string;
}

/** A snapshot on the target that was asked for; where none was, on one that is in use, else on one that was. */
export async function findSnapshotPlace(
  db: Database,
  { snapshot, target }: { snapshot: string; target?: string | undefined },
): Promise<SnapshotPlace | undefined> {
  const row = await db
    .selectFrom('snapshots')
    .innerJoin('snapshot_targets', 'snapshot_targets.snapshot_id', 'snapshots.id')
    .innerJoin('targets', 'targets.id', 'snapshot_targets.target_id')
    .select(['snapshots.id', 'snapshots.number', 'snapshots.taken_at', 'snapshots.size_bytes'])
    .select([
      'targets.id as target_id',
      'targets.name',
      'targets.kind',
      'targets.settings',
      'targets.catalogue',
    ])
    .where('snapshots.id', '=', snapshot)
    .where('snapshots.state', '!=', 'forgotten')
    .where('snapshot_targets.state', '=', 'stored')
    .$if(target !== undefined, (query) => query.where('targets.id', '=', target ?? ''))
    .orderBy(sql`targets.state = 'active'`, 'desc')
    // Only what is mounted can be set back to.
    .orderBy(sql`targets.kind = 'directory'`, 'desc')
    .orderBy(sql`targets.last_error is null`, 'desc')
    .orderBy(sql`case when targets.state = 'active' then targets.position else 0 end`)
    .orderBy('targets.created_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  return {
    id: row.id,
    number: Number(row.number),
    takenAt: row.taken_at,
    sizeBytes: Number(row.size_bytes),
    targetId: row.target_id,
    targetName: row.name,
    catalogue: row.catalogue,
    kind: row.kind,
    path: (row.settings as { path: string }).path,
  };
}

export async function countWrittenSince(db: Database, since: Date): Promise<WrittenSince> {
  const [files, people, acts] = await Promise.all([
    db
      .selectFrom('file_versions')
      .select((eb) => [eb.fn.countAll<string>().as('count'), eb.fn.sum<string>('size_bytes').as('bytes')])
      .where('created_at', '>', since)
      .executeTakeFirst(),
    db
      .selectFrom('users')
      .select((eb) => eb.fn.countAll<string>().as('count'))
      .where('created_at', '>', since)
      .executeTakeFirst(),
    db
      .selectFrom('audit_entries')
      .select((eb) => [
        eb.fn.countAll<string>().as('count'),
        eb.fn
          .countAll<string>()
          .filterWhere('action', 'in', ['workspaces.file.deleted', 'workspaces.folder.deleted'])
          .as('deletions'),
      ])
      .where('at', '>', since)
      .executeTakeFirst(),
  ]);
  return {
    since: since.toISOString(),
    files: Number(files?.count ?? 0),
    bytes: Number(files?.bytes ?? 0),
    deletions: Number(acts?.deletions ?? 0),
    people: Number(people?.count ?? 0),
    acts: Number(acts?.count ?? 0),
  };
}
