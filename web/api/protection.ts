/** Targets, schedules, snapshots, restore tests and runs. */
import type { Static } from 'typebox';
import type {
  EarlierStatePage,
  LockChange,
  MadeKey,
  OwnRestore,
  S3SignIn,
  ScheduleChange,
  Schedule,
  Snapshot,
  SnapshotFolder,
  SnapshotPage,
  TargetProbe,
  TargetReply,
  TargetRequest,
  TargetSignIn,
} from '../../server/backups/schema.ts';
import type { Run, RunLogLine } from '../../server/lib/run-schema.ts';
import type {
  KitMaterial,
  Preflight,
  RestoreTest,
  RestoreTestPage,
  StartRestoreTest,
} from '../../server/restore-tests/schema.ts';
import { API, request } from './client.ts';

export type SnapshotRows = Static<typeof SnapshotPage>;
export type EarlierStates = Static<typeof EarlierStatePage>;

export const listTargets = async (signal?: AbortSignal): Promise<TargetReply[]> =>
  (await request<{ items: TargetReply[] }>('/targets', { signal })).items;
export const getTarget = (id: string, signal?: AbortSignal): Promise<TargetReply> =>
  request(`/targets/${id}`, { signal });
export const probeNewTarget = (body: TargetRequest): Promise<TargetProbe> =>
  request('/targets/probe', { method: 'POST', body });
export const addTarget = (body: TargetRequest): Promise<TargetReply> =>
  request('/targets', { method: 'POST', body });
export const probeTarget = (id: string): Promise<TargetProbe> =>
  request(`/targets/${id}/probe`, { method: 'POST' });

export const retireTarget = (id: string): Promise<TargetReply> =>
  request(`/targets/${id}/retire`, { method: 'POST' });

export const makeTargetKey = (): Promise<MadeKey> => request('/targets/keys', { method: 'POST' });
export const changeTargetSignIn = (id: string, signIn: TargetSignIn | S3SignIn): Promise<TargetReply> =>
  request(`/targets/${id}/sign-in`, { method: 'PUT', body: { signIn } });
export const changeTargetLock = (id: string, change: LockChange): Promise<TargetReply> =>
  request(`/targets/${id}/lock`, { method: 'PUT', body: change });
export const acceptHostKey = (id: string, fingerprint: string): Promise<TargetReply> =>
  request(`/targets/${id}/host-key`, { method: 'PUT', body: { fingerprint } });

export const listSchedules = async (signal?: AbortSignal): Promise<Schedule[]> =>
  (await request<{ items: Schedule[] }>('/schedules', { signal })).items;
export const putSchedule = (name: Schedule['name'], body: Static<typeof ScheduleChange>): Promise<Schedule> =>
  request(`/schedules/${name}`, { method: 'PUT', body });

export const listSnapshots = (
  query: { cursor?: string | undefined; limit?: number; state?: string; order?: string; held?: string },
  signal?: AbortSignal,
): Promise<SnapshotRows> => request('/snapshots', { query, signal });
export const getSnapshot = (id: string, signal?: AbortSignal): Promise<Snapshot> =>
  request(`/snapshots/${id}`, { signal });
export const takeSnapshot = (): Promise<Run> => request('/snapshots', { method: 'POST' });
export const getSnapshotFolder = (
  id: string,
  query: {
    folderId?: string | undefined;
    cursor?: string | undefined;
    search?: string;
    limit?: number;
    targetId?: string | undefined;
  },
  signal?: AbortSignal,
): Promise<SnapshotFolder> => request(`/snapshots/${id}/content`, { query, signal });
export const restoreNode = (
  snapshotId: string,
  restore: { folderId: string; nodeId: string; targetId?: string; inPlace?: boolean },
): Promise<Run> => request(`/snapshots/${snapshotId}/restores`, { method: 'POST', body: restore });

export const listRuns = async (
  query: { kind?: string; state?: string },
  signal?: AbortSignal,
): Promise<Run[]> => (await request<{ items: Run[] }>('/runs', { query, signal })).items;
export const getRun = (id: string, signal?: AbortSignal): Promise<Run> => request(`/runs/${id}`, { signal });
export const getRunLog = async (id: string, signal?: AbortSignal): Promise<RunLogLine[]> =>
  (await request<{ items: RunLogLine[] }>(`/runs/${id}/log`, { signal })).items;
export const listOwnRestores = async (signal?: AbortSignal): Promise<OwnRestore[]> =>
  (await request<{ items: OwnRestore[] }>('/restores', { signal })).items;
export const listEarlierStates = (
  query: { cursor?: string | undefined; limit?: number },
  signal?: AbortSignal,
): Promise<EarlierStates> => request('/earlier-states', { query, signal });
/** Restores that one asked for are open to those who may not see other work, too. */
export const getOwnRestore = (id: string, signal?: AbortSignal): Promise<Run> =>
  request(`/restores/${id}`, { signal });
export const getOwnRestoreLog = async (id: string, signal?: AbortSignal): Promise<RunLogLine[]> =>
  (await request<{ items: RunLogLine[] }>(`/restores/${id}/log`, { signal })).items;
export const cancelOwnRestore = (id: string): Promise<Run> =>
  request(`/restores/${id}/cancel`, { method: 'POST' });
export const cancelRun = (id: string): Promise<Run> => request(`/runs/${id}/cancel`, { method: 'POST' });

export const listRestoreTests = (
  query: { cursor?: string | undefined; limit?: number },
  signal?: AbortSignal,
): Promise<RestoreTestPage> => request('/restore-tests', { query, signal });
export const getRestoreTest = (id: string, signal?: AbortSignal): Promise<RestoreTest> =>
  request(`/restore-tests/${id}`, { signal });
export const startRestoreTest = (body: StartRestoreTest): Promise<RestoreTest> =>
  request('/restore-tests', { method: 'POST', body });
export const getPreflight = (
  { everyTarget, ...planned }: Omit<StartRestoreTest, 'lent'>,
  signal?: AbortSignal,
): Promise<Preflight> => {
  const query = { ...planned, ...(everyTarget === true ? { everyTarget: 'true' } : {}) };
  return request('/restore-tests/preflight', { query, signal });
};
export const getKitMaterial = (targetId: string): Promise<KitMaterial> =>
  request('/restore-tests/kit-material', { query: { targetId } });
export const reportUrl = (id: string, format: '' | '.pdf' = ''): string =>
  `${API}/restore-tests/${id}/report${format}`;
