/** The audit log: searching it, how it is signed and anchored, verifying and exporting it. */
import type { Static } from 'typebox';
import type { AuditFilter, AuditPage, AuditQuery, LogState, SavedFilter } from '../../server/audit/schema.ts';
import type { Retention, RetentionChange } from '../../server/audit/schema.ts';
import type { Run } from '../../server/lib/run-schema.ts';
import type { AskedApproval } from '../../server/lib/shapes.ts';
import { API, queryText, request, requestText } from './client.ts';

export type { LogState, SavedFilter };
type AuditRows = Static<typeof AuditPage>;

/** What is undefined is not asked for. */
export type AskedAudit = { [Name in keyof AuditQuery]?: AuditQuery[Name] | undefined };
export const listAudit = (query: AskedAudit, signal?: AbortSignal): Promise<AuditRows> =>
  request('/audit', { query, signal });
export const listActions = async (signal?: AbortSignal): Promise<string[]> =>
  (await request<{ items: string[] }>('/audit/actions', { signal })).items;
export const getLogState = (signal?: AbortSignal): Promise<LogState> => request('/audit/log', { signal });
export const verifyLog = (): Promise<Run> => request('/audit/verifications', { method: 'POST' });

/** @param since leaves out what the last checkpoint before it covers. */
export const exportUrl = (since?: string): string => `${API}/audit/export${queryText({ since })}`;
export type AskedFilter = { [Name in keyof AuditFilter]?: AuditFilter[Name] | undefined };
export const selectionUrl = (filter: AskedFilter): string => `${API}/audit/selection${queryText(filter)}`;
export const getProof = (id: string): Promise<string> => requestText(`/audit/entries/${id}/proof`);

export const getRetention = (signal?: AbortSignal): Promise<Retention> =>
  request('/audit/retention', { signal });
/** A shorter time is asked for, not set. */
export const changeRetention = (change: RetentionChange): Promise<Retention | AskedApproval> =>
  request('/audit/retention', { method: 'PUT', body: change });

export const listSavedFilters = async (signal?: AbortSignal): Promise<SavedFilter[]> =>
  (await request<{ items: SavedFilter[] }>('/audit/filters', { signal })).items;
export const saveFilter = (name: string, query: string): Promise<SavedFilter> =>
  request('/audit/filters', { method: 'POST', body: { name, query } });
export const deleteFilter = (id: string): Promise<void> =>
  request(`/audit/filters/${id}`, { method: 'DELETE' });
