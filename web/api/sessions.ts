/** Sessions, their limits, and proving again who one is. */
import type { SessionItem, SessionList, SessionSettings } from '../../server/identity/sessions/schema.ts';
import { request } from './client.ts';

export type { SessionItem, SessionList, SessionSettings };

/** @param personId somebody else's, for owners. */
export const listSessions = (personId?: string, signal?: AbortSignal): Promise<SessionList> =>
  request(personId === undefined ? '/sessions' : `/people/${personId}/sessions`, { signal });
export const endSession = (id: string): Promise<void> => request(`/sessions/${id}`, { method: 'DELETE' });
export const endOtherSessions = (): Promise<{ ended: number }> =>
  request('/sessions/end-others', { method: 'POST' });
export const endSessionsOf = (personId: string): Promise<{ ended: number }> =>
  request(`/people/${personId}/sessions`, { method: 'DELETE' });
export const dismissAlerts = (): Promise<void> => request('/sessions/dismiss-alerts', { method: 'POST' });

export const getSessionSettings = (signal?: AbortSignal): Promise<SessionSettings> =>
  request('/settings/sessions', { signal });
export const putSessionSettings = (body: SessionSettings): Promise<SessionSettings> =>
  request('/settings/sessions', { method: 'PUT', body });
