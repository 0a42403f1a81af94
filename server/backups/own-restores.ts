/**
 * What somebody who may see no operations needs to bring back what is theirs: the states that there are to choose from, and the
 * restores that they asked for, found again without an id.
 */
import type { Person } from '../identity/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { toRun } from '../lib/runs.ts';
import { listGrantedWorkspaces, type WorkspaceDeps } from '../workspaces/index.ts';
import { readCursor } from './list-snapshots.ts';
import { listReadable, listRunsOf, listTakenAt } from './own-queries.ts';
import { openNames } from './restore-listing.ts';
import type { EarlierState, OwnRestore } from './schema.ts';

const KINDS = ['restore-file', 'restore-folder'] as const;
/** Those that have ended are listed for so long. */
const LISTED_MS = 7 * 24 * 3_600_000;
const MOST = 20;

/** As `requestRestore` writes it; runs from before names were kept have none. */
interface RestoreInput {
  snapshotId?: string;
  workspaceId?: string;
  folderId?: string;
  nodeId?: string;
  nameSealed?: string;
}

/** Newest first, those under way before all. Nothing of a workspace that the person may not see any more. */
export async function listOwnRestores(deps: WorkspaceDeps, person: Person): Promise<OwnRestore[]> {
  const rows = await listRunsOf(deps.db, {
    ...{ userId: person.userId, kinds: KINDS, limit: MOST },
    endedSince: new Date(deps.clock.now().getTime() - LISTED_MS),
  });
  const granted = new Set((await listGrantedWorkspaces(deps.db, person.userId)).map(({ id }) => id));
  const only = person.onlyWorkspaceId;
  const seen = rows
    .map((row) => ({ row, input: row.input as RestoreInput }))
    .filter(
      ({ input: { workspaceId = '' } }) =>
        granted.has(workspaceId) && (only === undefined || only === workspaceId),
    );
  const takenAt = await listTakenAt(
    deps.db,
    seen.map(({ input }) => input.snapshotId ?? ''),
  );
  return Promise.all(
    seen.map(async ({ row, input }) => ({
      run: toRun(row),
      kind: row.kind === 'restore-file' ? ('file' as const) : ('folder' as const),
      name: await openName(deps, input),
      snapshotId: input.snapshotId ?? '',
      takenAt: takenAt.get(input.snapshotId ?? '')?.toISOString() ?? null,
    })),
  );
}

/** @returns null for a workspace's top folder, and where the key of its names does not open them. */
async function openName(deps: WorkspaceDeps, input: RestoreInput): Promise<string | null> {
  const { nodeId: id = '', workspaceId = '', nameSealed } = input;
  if (nameSealed === undefined) return null;
  try {
    const names = await openNames(deps, [{ id, workspaceId, nameSealed, parentId: null }]);
    return names.get(id) || null;
  } catch (error) {
    if (error instanceof HoldfastError && /^(key_|not_found)/.test(error.code)) return null;
    throw error;
  }
}

export async function listEarlierStates(
  deps: Pick<WorkspaceDeps, 'db'>,
  { cursor, limit = 50 }: { cursor?: string; limit?: number },
): Promise<{ items: EarlierState[]; nextCursor: string | null }> {
  const below = cursor === undefined ? undefined : readCursor(cursor);
  const rows = await listReadable(deps.db, { below, limit: limit + 1 });
  const page = rows.slice(0, limit);
  return {
    items: page.map(({ id, number, state, taken_at }) => ({
      ...{ id, number, takenAt: taken_at.toISOString() },
      whole: state === 'stored',
    })),
    nextCursor: rows.length > limit ? (page.at(-1)?.number ?? null) : null,
  };
}
