/** Why an act on a snapshot is not possible in its state; the server's table decides, this gives the reason to show. */
import type { SnapshotState } from '../../api/shapes.ts';

type SnapshotAct = 'browse' | 'restore' | 'test' | 'forget';

/** @returns undefined when it is possible. */
export function whyNot(state: SnapshotState, act: SnapshotAct): string | undefined {
  if (state !== 'forgotten') return undefined;
  return act === 'forget'
    ? 'It is forgotten already'
    : 'This snapshot is forgotten: its content is no longer kept';
}

/** Whether a read failed because no snapshot has that id; one that is no id at all is refused as a bad request. */
export function isMissing(error: { status: number } | undefined): boolean {
  return error !== undefined && (error.status === 404 || error.status === 400);
}
