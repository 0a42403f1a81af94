/** How long snapshots are kept, and legal holds. */
import type { Static } from 'typebox';
import type { RetentionPolicy, RetentionRules } from '../../server/backups/retention/policy.ts';
import type {
  RetentionPreview as PreviewShape,
  RetentionStatus as StatusShape,
} from '../../server/backups/retention/schema.ts';
import type { AskedApproval } from '../../server/lib/shapes.ts';
import { request } from './client.ts';
import type { Run, Snapshot } from './shapes.ts';

export type { RetentionPolicy, RetentionRules };
export type RetentionStatus = Static<typeof StatusShape>;
export type RetentionPreview = Static<typeof PreviewShape>;

export const getRetention = (targetId: string, signal?: AbortSignal): Promise<RetentionStatus> =>
  request(`/targets/${targetId}/retention`, { signal });
export const previewRetention = (
  targetId: string,
  policy: RetentionPolicy,
  signal?: AbortSignal,
): Promise<RetentionPreview> =>
  request(`/targets/${targetId}/retention/preview`, { method: 'POST', body: { policy }, signal });
export const putRetention = (
  targetId: string,
  policy: RetentionPolicy,
  reason: string,
): Promise<RetentionStatus | AskedApproval> =>
  request(`/targets/${targetId}/retention`, {
    method: 'PUT',
    body: { policy, ...(reason === '' ? {} : { reason }) },
  });
export const applyRetention = (targetId: string): Promise<Run> =>
  request(`/targets/${targetId}/retention/apply`, { method: 'POST' });
export const agreeToRemoval = (
  targetId: string,
  body: { reason: string; removes: number },
): Promise<RetentionStatus | AskedApproval> =>
  request(`/targets/${targetId}/retention/agree`, { method: 'POST', body });

/** On one target, or on all that have it. */
export const forgetSnapshot = (id: string, reason: string, targetId?: string): Promise<Run | AskedApproval> =>
  request(`/snapshots/${id}/forget`, {
    method: 'POST',
    body: { reason, ...(targetId === undefined ? {} : { targetId }) },
  });
export const holdSnapshot = (id: string, reason: string): Promise<Snapshot> =>
  request(`/snapshots/${id}/hold`, { method: 'PUT', body: { reason } });
export const liftHold = (id: string, reason: string): Promise<Snapshot> =>
  request(`/snapshots/${id}/hold/lift`, { method: 'POST', body: { reason } });

/** A person's word that a snapshot of an unusual size is as it should be. */
export const acceptSnapshot = (id: string, reason: string): Promise<Snapshot> =>
  request(`/snapshots/${id}/accept`, { method: 'POST', body: { reason } });
