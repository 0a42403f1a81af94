/** Room on the data disk and on each target, over time. */
import type { CapacityReply } from '../../server/monitoring/capacity/schema.ts';
import { request } from './client.ts';

export type Room = CapacityReply['items'][number];

export const getCapacity = (signal?: AbortSignal): Promise<CapacityReply> => request('/capacity', { signal });
export const putQuota = (targetId: string, quotaBytes: number | null): Promise<CapacityReply> =>
  request(`/targets/${targetId}/quota`, { method: 'PUT', body: { quotaBytes } });
