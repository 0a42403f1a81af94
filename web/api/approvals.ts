/** Requests that need a second person or time in which somebody may object. */
import type { Approval, ApprovalList, ApprovalSettings } from '../../server/identity/approvals/schema.ts';
import type { AskedApproval } from '../../server/lib/shapes.ts';
import { request } from './client.ts';

export type { Approval, ApprovalSettings, AskedApproval };

export const listApprovals = (state: 'pending' | 'past', signal?: AbortSignal): Promise<ApprovalList> =>
  request('/approvals', { query: { state }, signal });
export const approve = (id: string): Promise<void> => request(`/approvals/${id}/approve`, { method: 'POST' });
export const refuse = (id: string, reason: string): Promise<void> =>
  request(`/approvals/${id}/refuse`, { method: 'POST', body: { reason } });
export const withdraw = (id: string): Promise<void> =>
  request(`/approvals/${id}/withdraw`, { method: 'POST' });

export const getApprovalSettings = (signal?: AbortSignal): Promise<ApprovalSettings> =>
  request('/settings/approvals', { signal });
export const putApprovalSettings = (body: ApprovalSettings): Promise<ApprovalSettings | AskedApproval> =>
  request('/settings/approvals', { method: 'PUT', body });

/** Whether an act was not done yet but asked for. */
export function isAsked(answer: object): answer is AskedApproval {
  return 'approval' in answer;
}
