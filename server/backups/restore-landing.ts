/** Where in a workspace something of a snapshot comes back: beside the present one or where that was, and on wish in its place. */
import { recordAudit, systemActor, type Actor } from '../audit/index.ts';
import { writeTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { JsonObject } from '../lib/tables.ts';
import type { RunContext } from '../lib/runs.ts';
import { findLivePlace, putInPlace, type WorkspaceDeps } from '../workspaces/index.ts';
import { problemOf } from './copy-problems.ts';
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
export function restoredName(name: string, kind: 'file' | 'folder', takenAt: string): string {
  return withMark(name, kind, ` (of ${dayOf(takenAt)})`);
}

/** The name of what made room: `report (until 2026-11-21 0930).pdf`, by the time of the act. */
export function keptName(name: string, kind: 'file' | 'folder', now: Date): string {
  return withMark(name, kind, ` (until ${dayOf(now.toISOString())})`);
}

/** Of a folder that is being filled. */
export function unfinishedName(name: string): string {
  return withMark(name, 'folder', ' – not whole yet');
}

/** Leaves room for the number that a taken name gets. */
function withMark(name: string, kind: 'file' | 'folder', mark: string): string {
  const dot = kind === 'file' ? name.lastIndexOf('.') : -1;
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
  /** All of it came back: what is not whole takes no place. */
  whole: boolean;
  detail?: Record<string, number>;
}

interface Settled {
  /** Ids only, because more people may see runs than names. */
  result: JsonObject;
  /** The exchange was asked for and could not be made: both lie side by side. */
  notExchanged: boolean;
}

/** The last act of a restore: its audit entry, and the exchange with the present one when that was asked for. */
export async function settleRestored(
  deps: WorkspaceDeps,
  run: RunContext,
  { snapshot, line, kind, restored, landing, whole, detail }: Landed,
): Promise<Settled> {
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
  if (inPlace !== true || !landing.present || !whole) return { result, notExchanged: false };
  await run.step('Putting it in place');
  const now = deps.clock.now();
  try {
    await putInPlace(
      deps,
      { newId: restored.id, presentId: line.id, keptName: (name) => keptName(name, kind, now) },
      actor,
    );
    return { result: { ...result, keptNodeId: line.id }, notExchanged: false };
  } catch (error) {
    const { message } = problemOf(error, 'It failed inside the appliance');
    await run.log('warn', `It is back, beside the present one, and did not take its place: ${message}`);
    return { result, notExchanged: true };
  }
}
