/** What is unusual about snapshots, as people see it. */
import { namePeople, type PeopleDeps } from '../../identity/index.ts';
import type { SnapshotRow } from '../queries.ts';
import type { Snapshot } from '../schema.ts';
import { isShrink, tellUnusual } from './judge.ts';
import { unusualOf } from './judge-snapshots.ts';

/** By the id of the snapshot; those without are left out. */
export async function describeUnusual(
  deps: Pick<PeopleDeps, 'db' | 'sealer'>,
  rows: readonly SnapshotRow[],
): Promise<ReadonlyMap<string, NonNullable<Snapshot['unusual']>>> {
  const marked = rows.filter((row) => row.unusual !== null);
  const ids = [...new Set(marked.flatMap((row) => row.accepted_by ?? []))];
  const people = ids.length === 0 ? new Map<string, { name: string }>() : await namePeople(deps, ids);
  return new Map(
    marked.map((row) => [
      row.id,
      {
        ...{ shrunk: isShrink(unusualOf(row)), words: tellUnusual(unusualOf(row)) },
        accepted:
          row.accepted_at === null
            ? null
            : {
                ...{ at: row.accepted_at.toISOString(), by: row.accepted_by },
                byName: people.get(row.accepted_by ?? '')?.name ?? null,
                note: row.accepted_note ?? '',
              },
      },
    ]),
  );
}
