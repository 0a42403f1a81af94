/** Whether this version of Holdfast starts on a snapshot: told by what the snapshot says of itself, before a byte of it is fetched. */
import { HoldfastError } from '../lib/errors.ts';
import { listMigrations } from '../lib/migrate.ts';
import { POSTGRES_MAJOR } from '../lib/postgres/index.ts';
import type { SnapshotRecord } from './engine.ts';
import { requireKept } from './expired-parts.ts';
import { postgresFacts, type PostgresFacts } from './database/postgres-source.ts';

export interface SchemaFit {
  starts: boolean;
  /** Migrations that bring it up to date; 0 where a newer version wrote it. */
  behind: number;
  /** What that means, in plain words. */
  words: string;
}

type SchemaFacts = Pick<PostgresFacts, 'major' | 'schemaVersion' | 'schemaNeeds'>;

/** Pure. @param known names of this version's migrations, in order */
export function tellFit(
  { major, schemaVersion, schemaNeeds }: SchemaFacts,
  known: readonly string[],
): SchemaFit {
  const newest = known.at(-1) ?? '';
  if (major !== POSTGRES_MAJOR) {
    const words = `It is of PostgreSQL ${major}, and this Holdfast brings PostgreSQL ${POSTGRES_MAJOR}`;
    return { starts: false, behind: 0, words };
  }
  if (schemaVersion === undefined) {
    return { starts: true, behind: 0, words: 'It does not say which version wrote it' };
  }
  if (schemaVersion <= newest) {
    const behind = known.filter((name) => name > schemaVersion).length;
    const words =
      behind === 0
        ? 'It is of this version'
        : `It is of an older version: ${behind === 1 ? '1 migration brings' : `${behind} migrations bring`} it up to date at the first start`;
    return { starts: true, behind, words };
  }
  if (schemaNeeds === undefined) {
    return {
      starts: true,
      behind: 0,
      words: 'A newer version wrote it; whether this one can go on with it is not known',
    };
  }
  return schemaNeeds <= newest
    ? { starts: true, behind: 0, words: 'A newer version wrote it, and this one can go on with it' }
    : { starts: false, behind: 0, words: 'A newer version wrote it, and this one cannot go on with it' };
}

/** Undefined for a snapshot that is not of a whole appliance. */
export function fitOf({ sections }: SnapshotRecord, known: readonly string[]): SchemaFit | undefined {
  const section = sections.find(({ kind }) => kind === 'postgres');
  return section === undefined ? undefined : tellFit(postgresFacts(section), known);
}

/** What a recovery brings back. */
export const RECOVERED_PARTS: readonly string[] = ['database', 'files'];

/** @throws HoldfastError `wrong_state` for a snapshot of which that is not kept any more, or on which this version does not start. */
export async function requireFit(snapshot: SnapshotRecord): Promise<void> {
  requireKept(snapshot, RECOVERED_PARTS);
  const fit = fitOf(snapshot, await listMigrations());
  if (fit?.starts !== false) return;
  throw new HoldfastError(
    'wrong_state',
    `Snapshot ${snapshot.number} cannot be restored here: ${fit.words}`,
    {
      hint: 'Nothing was fetched. Install the version of Holdfast that took it, or a later one, or choose an older snapshot.',
    },
  );
}
