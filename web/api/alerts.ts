/** What is not well, and who is told. */
import type { Acknowledgement, Alert, AlertPage, AlertSettings } from '../../server/monitoring/schema.ts';
import { request } from './client.ts';

export type { Alert, AlertSettings };

export const listAlerts = (
  query: { state: 'open' | 'ended'; cursor?: string | undefined },
  signal?: AbortSignal,
): Promise<AlertPage> => request('/alerts', { query, signal });
export const countAlerts = (signal?: AbortSignal): Promise<{ unacknowledged: number }> =>
  request('/alerts/count', { signal });
export const acknowledgeAlert = (id: string, body: Acknowledgement): Promise<Alert> =>
  request(`/alerts/${id}/acknowledge`, { method: 'POST', body });
export const unacknowledgeAlert = (id: string): Promise<Alert> =>
  request(`/alerts/${id}/unacknowledge`, { method: 'POST' });

export const getAlertSettings = (signal?: AbortSignal): Promise<AlertSettings> =>
  request('/settings/alerts', { signal });
export const putAlertSettings = (body: AlertSettings): Promise<AlertSettings> =>
  request('/settings/alerts', { method: 'PUT', body });
