/** From when on a run or the size of a snapshot is told of. */
import type { SnapshotLimits } from '../../server/backups/unusual/schema.ts';
import type { RunLimit, RunLimits } from '../../server/monitoring/run-limits/schema.ts';
import { request } from './client.ts';

export type { RunLimit, SnapshotLimits };

export const getRunLimits = (signal?: AbortSignal): Promise<RunLimits> =>
  request('/settings/run-limits', { signal });
export const putRunLimits = (items: RunLimit[]): Promise<RunLimits> =>
  request('/settings/run-limits', { method: 'PUT', body: { items } });
export const getSnapshotLimits = (signal?: AbortSignal): Promise<SnapshotLimits> =>
  request('/settings/snapshot-limits', { signal });
export const putSnapshotLimits = (body: SnapshotLimits): Promise<SnapshotLimits> =>
  request('/settings/snapshot-limits', { method: 'PUT', body });
