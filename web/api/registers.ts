/** What people have undertaken, were checked for and were trained in. */
import type {
  EntryChange,
  ImportResult,
  NewEntry,
  RegisterEntry,
  RegisterPage,
  RegisterQuery,
  RegisterSettings,
} from '../../server/identity/registers/schema.ts';
import { API, queryText, request } from './client.ts';

export type { ImportResult, RegisterEntry, RegisterQuery, RegisterSettings };

export const listRegister = (query: RegisterQuery, signal?: AbortSignal): Promise<RegisterPage> =>
  request('/registers', { query: { ...query }, signal });
export const listOwnRegister = async (signal?: AbortSignal): Promise<RegisterEntry[]> =>
  (await request<{ items: RegisterEntry[] }>('/me/register', { signal })).items;
export const addEntry = (body: NewEntry): Promise<RegisterEntry> =>
  request('/registers', { method: 'POST', body });
export const changeEntry = (id: string, body: EntryChange): Promise<RegisterEntry> =>
  request(`/registers/${id}`, { method: 'PATCH', body });
export const removeEntry = (id: string): Promise<void> =>
  request(`/registers/${id}`, { method: 'DELETE', body: {} });
export const importRegister = (csv: string, apply: boolean): Promise<ImportResult> =>
  request('/registers/import', { method: 'POST', body: { csv, apply } });
export const registerExportUrl = (query: RegisterQuery): string =>
  `${API}/registers/export${queryText({ ...query })}`;

export const getRegisterSettings = (signal?: AbortSignal): Promise<RegisterSettings> =>
  request('/settings/registers', { signal });
export const putRegisterSettings = (body: RegisterSettings): Promise<RegisterSettings> =>
  request('/settings/registers', { method: 'PUT', body });
