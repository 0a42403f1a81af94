/** Several targets: their order, on how many a snapshot has to be, what they cost, and catching one up. */
import type { Static } from 'typebox';
import type { TargetPace } from '../../server/backups/pace-schema.ts';
import type { CopyRule as Rule, TargetPrice, TargetReply } from '../../server/backups/schema.ts';
import type { Run } from '../../server/lib/run-schema.ts';
import { request } from './client.ts';

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
export const copyToTarget = (id: string): Promise<Run> => request(`/targets/${id}/copy`, { method: 'POST' });
export const verifyTarget = (id: string): Promise<Run> =>
  request(`/targets/${id}/verify`, { method: 'POST' });
export const readBackPart = (id: string): Promise<Run> =>
  request(`/targets/${id}/verify`, { method: 'POST', query: { part: 'true' } });
