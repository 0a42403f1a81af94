/** Links that are sent by mail: to set a password, to sign in, to confirm an address. */
import type { SecondStep } from '../../server/identity/factors/schema.ts';
import type { PendingEmailChange, ResetLook, SentReset } from '../../server/identity/mail-links/schema.ts';
import type { SignInOffer } from '../../server/identity/sign-in/ways.ts';
import type { WorkspaceMembers } from '../../server/workspaces/schema.ts';
import { request } from './client.ts';
import type { Session } from './shapes.ts';

export type { PendingEmailChange, ResetLook, SentReset, SignInOffer };

const post = <T>(path: string, body: object): Promise<T> => request<T>(path, { method: 'POST', body });

export const getSignInOffer = (signal?: AbortSignal): Promise<SignInOffer> =>
  request('/sign-in/ways', { signal });

/** Says the same for every address. */
export const askForLink = (
  what: 'password-reset' | 'magic-link',
  email: string,
): Promise<{ validMinutes: number }> =>
  post(what === 'magic-link' ? '/sign-in/magic-links' : '/sign-in/reset-requests', { email });

export const lookAtReset = (token: string): Promise<ResetLook> => post('/sign-in/reset/look', { token });
export const resetPassword = (token: string, password: string): Promise<void> =>
  post('/sign-in/reset', { token, password });
export const signInByLink = (token: string): Promise<Session | SecondStep> =>
  post('/sign-in/magic-link', { token });
export const confirmAddress = (token: string): Promise<{ email: string }> =>
  post('/sign-in/email-confirmation', { token });

export const getEmailChange = async (signal?: AbortSignal): Promise<PendingEmailChange | undefined> =>
  (await request<{ pending: PendingEmailChange | null }>('/me/email-change', { signal })).pending ??
  undefined;
export const askEmailChange = (email: string): Promise<PendingEmailChange> =>
  post('/me/email-change', { email });
export const cancelEmailChange = (): Promise<void> => request('/me/email-change', { method: 'DELETE' });
export const changeOwnName = (name: string): Promise<void> =>
  request('/profile', { method: 'PATCH', body: { name } });

export const offerReset = (personId: string): Promise<SentReset> =>
  post(`/people/${personId}/reset-link`, {});
export const allowMagicLinks = (workspaceId: string, allowed: boolean): Promise<WorkspaceMembers> =>
  request(`/workspaces/${workspaceId}/magic-links`, { method: 'PUT', body: { allowed } });
