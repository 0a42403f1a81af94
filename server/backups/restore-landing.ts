/** Where in a workspace something of a snapshot comes back: beside the present one or where that was, and on wish in its place. */
import { recordAudit, systemActor, type Actor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { JsonObject } from '../lib/tables.ts';
import type { RunContext } from '../lib/runs.ts';
import { findLivePlace, putInPlace, type WorkspaceDeps } from '../workspaces/index.ts';
import type { FolderLine } from './appliance-queries.ts';
import type { SnapshotRecord } from './engine.ts';

export interface Landing {
  /** A folder of the workspace as it is now. */
  folderId: string;
  /** The present one is in that folder, too. */
  present: boolean;
  /** The folder where it was is gone; this is the nearest above it that is there. */
  moved: boolean;
}

/**
 * Beside the present one, wherever that is now; when it was deleted, in the folder where it was, or in the nearest above that is
 * still there.
 */
export async function findLanding(
  deps: WorkspaceDeps,
  line: FolderLine,
  folders: ReadonlyMap<string, FolderLine>,
): Promise<Landing> {
  const above: string[] = [];
  for (let id = line.parentId ?? line.id; above.length < folders.size + 1;) {
    above.push(id);
    const next = folders.get(id)?.parentId;
    if (next == null) break;
    id = next;
  }
  const place = await findLivePlace(deps.db, line.workspaceId, { nodeId: line.id, above });
  if (place === undefined) {
    throw new HoldfastError('not_found', 'The workspace that this was in is not there any more', {
      hint: 'Restore it to a directory: `holdfast restore`.',
    });
  }
  return { ...place, moved: !place.present && place.folderId !== above[0] };
}

/** Instant of a snapshot as it stands in names: `2026-11-21 0200`. */
function dayOf(instant: string): string {
  return `${instant.slice(0, 10)} ${instant.slice(11, 13)}${instant.slice(14, 16)}`;
}

/** `report.pdf` becomes `report (of 2026-11-21 0200).pdf`. */
export function restoredName(name: string, takenAt: string): string {
  return withMark(name, ` (of ${dayOf(takenAt)})`);
}

/** The name of what made room: `report (until 2026-11-21 0930).pdf`, by the time of the act. */
export function keptName(name: string, now: Date): string {
  return withMark(name, ` (until ${dayOf(now.toISOString())})`);
}

function withMark(name: string, mark: string): string {
  const dot = name.lastIndexOf('.');
  const [stem, extension] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ''];
  const room = 240 - Buffer.byteLength(mark + extension);
  const kept = Array.from(stem);
  while (Buffer.byteLength(kept.join('')) > room && kept.length > 0) kept.pop();
  return `${kept.join('')}${mark}${extension}`;
}

/** Who asked for the run. */
export function restorerOf(run: RunContext): Actor {
  return run.requestedBy === undefined ? systemActor('restore') : { kind: 'user', id: run.requestedBy };
}

interface Landed {
  snapshot: SnapshotRecord;
  /** As it was. */
  line: FolderLine;
  kind: 'file' | 'folder';
  restored: { id: string };
  landing: Landing;
  detail?: Record<string, number>;
}

/**
 * The last act of a restore that came out whole: its audit entry, and the exchange with the present one when that was asked for.
 *
 * @returns what the run tells of it: ids only, because more people may see runs than names.
 */
export async function settleRestored(
  deps: WorkspaceDeps,
  run: RunContext,
  { snapshot, line, kind, restored, landing, detail }: Landed,
): Promise<JsonObject> {
  const { inPlace } = run.input as { inPlace?: boolean };
  const actor = restorerOf(run);
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, actor, {
      action: `backups.${kind}.restored`,
      objectType: kind === 'file' ? 'node' : 'folder',
      objectId: restored.id,
      workspaceId: line.workspaceId,
      detail: { snapshotId: snapshot.id, original: line.id, run: run.runId, ...detail },
    }),
  );
  const result = { nodeId: restored.id, folderId: landing.folderId, snapshotId: snapshot.id };
  if (inPlace !== true || !landing.present) return result;
  await run.step('Putting it in place');
  const now = deps.clock.now();
  const exchange = {
    newId: restored.id,
    presentId: line.id,
    keptName: (name: string) => keptName(name, now),
  };
  await putInPlace(deps, exchange, actor);
  return { ...result, keptNodeId: line.id };
}
