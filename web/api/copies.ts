/** Several targets: their order, on how many a snapshot has to be, what they cost, and catching one up. */
import type { Static } from 'typebox';
import type { TargetPace } from '../../server/backups/pace-schema.ts';
import type { CopyRule as Rule, TargetPrice, TargetReply } from '../../server/backups/schema.ts';
import type {
  VerificationReportItem,
  VerificationReportPage,
} from '../../server/backups/verification-reports/schema.ts';
import type { Run } from '../../server/lib/run-schema.ts';
import type { WorkHours } from '../../server/lib/hours.ts';
import { API, request } from './client.ts';

export type CopyRule = Static<typeof Rule>;

export const getCopyRule = (signal?: AbortSignal): Promise<CopyRule> => request('/copy-rule', { signal });
export const putCopyRule = (needed: number | null): Promise<CopyRule> =>
  request('/copy-rule', { method: 'PUT', body: { needed } });
export const orderTargets = async (ids: readonly string[]): Promise<TargetReply[]> =>
  (await request<{ items: TargetReply[] }>('/targets/order', { method: 'PUT', body: { ids } })).items;
export const putPrice = (id: string, price: TargetPrice | null): Promise<TargetReply> =>
  request(`/targets/${id}/price`, { method: 'PUT', body: { price } });
export const putPace = (id: string, pace: TargetPace | null): Promise<TargetReply> =>
  request(`/targets/${id}/pace`, { method: 'PUT', body: { pace } });
export const putWorkHours = (id: string, hours: WorkHours | null): Promise<TargetReply> =>
  request(`/targets/${id}/work-hours`, { method: 'PUT', body: { hours } });
export const copyToTarget = (id: string): Promise<Run> => request(`/targets/${id}/copy`, { method: 'POST' });
export const verifyTarget = (id: string): Promise<Run> =>
  request(`/targets/${id}/verify`, { method: 'POST' });
export const readBackPart = (id: string): Promise<Run> =>
  request(`/targets/${id}/verify`, { method: 'POST', query: { part: 'true' } });

export type VerificationReport = VerificationReportItem;
export const listVerificationReports = (
  query: {
    targetId?: string | undefined;
    runId?: string | undefined;
    cursor?: string | undefined;
    limit?: number;
  },
  signal?: AbortSignal,
): Promise<VerificationReportPage> => request('/verification-reports', { query, signal });
export const verificationReportUrl = (id: string, format: '' | '.pdf' = ''): string =>
  `${API}/verification-reports/${id}/report${format}`;
