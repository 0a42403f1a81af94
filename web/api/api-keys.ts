/** Keys for programs, and the log of what they asked. */
import type {
  ApiKey,
  ApiKeys,
  ApiLogEntry,
  ApiLogPage,
  ApiLogSettings,
  MadeApiKey,
  NewApiKey,
} from '../../server/identity/api-keys/schema.ts';
import { request } from './client.ts';

export type { ApiKey, ApiKeys, ApiLogEntry, ApiLogSettings, MadeApiKey, NewApiKey };

export const listKeys = (all: boolean, signal?: AbortSignal): Promise<ApiKeys> =>
  request('/api-keys', { query: all ? { all: 'true' } : {}, signal });
export const makeKey = (wanted: NewApiKey): Promise<MadeApiKey> =>
  request('/api-keys', { method: 'POST', body: wanted });
export const rotateKey = (id: string, overlapHours: number): Promise<MadeApiKey> =>
  request(`/api-keys/${id}/rotate`, { method: 'POST', body: { overlapHours } });
export const revokeKey = (id: string): Promise<void> => request(`/api-keys/${id}`, { method: 'DELETE' });

type AskedLog = {
  scope: string;
  key?: string;
  route?: string;
  failed?: string;
  limit: number;
  cursor?: string;
};
export const listApiLog = (query: AskedLog, signal?: AbortSignal): Promise<ApiLogPage> =>
  request('/api-log', { query, signal });
export const getLogSettings = (scope: string, signal?: AbortSignal): Promise<ApiLogSettings> =>
  request(`/api-log/settings/${scope}`, { signal });
export const putLogSettings = (scope: string, change: ApiLogSettings): Promise<ApiLogSettings> =>
  request(`/api-log/settings/${scope}`, { method: 'PUT', body: change });
