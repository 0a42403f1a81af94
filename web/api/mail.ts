/** Mail: the server that takes it, and the log of what was sent. */
import type {
  MailMessage,
  MailPage,
  MailQuery,
  MailSettingsChange,
  MailSettingsReply,
  TestResult,
} from '../../server/mail/schema.ts';
import { request } from './client.ts';

export type { MailMessage, MailSettingsChange, MailSettingsReply, TestResult };

export const getMailSettings = (signal?: AbortSignal): Promise<MailSettingsReply> =>
  request('/settings/mail', { signal });
export const putMailSettings = (change: MailSettingsChange): Promise<MailSettingsReply> =>
  request('/settings/mail', { method: 'PUT', body: change });
export const removeMailSettings = (): Promise<void> => request('/settings/mail', { method: 'DELETE' });
export const sendTestMail = (to: string): Promise<TestResult> =>
  request('/settings/mail/test', { method: 'POST', body: to === '' ? {} : { to } });

export type AskedMail = { [Name in keyof MailQuery]?: MailQuery[Name] | undefined };
export const listMail = (query: AskedMail, signal?: AbortSignal): Promise<MailPage> =>
  request('/mail', { query, signal });
export const retryMail = (id: string): Promise<void> => request(`/mail/${id}/retry`, { method: 'POST' });
export const cancelMail = (id: string): Promise<void> => request(`/mail/${id}/cancel`, { method: 'POST' });
