/** Single sign-on: which ways are offered, the way to the provider and back, one's own link, and the settings. */
import type { SecondStep } from '../../server/identity/factors/schema.ts';
import type { Session } from '../../server/identity/schema.ts';
import type {
  LinkedIdentity,
  OnlyPreview,
  OwnLink,
  ProbeReply,
  ReturnRequest,
  SingleSignOnChange,
  SingleSignOnReply,
} from '../../server/identity/single-sign-on/schema.ts';
import { ApiError, request } from './client.ts';

export type { LinkedIdentity, OnlyPreview, OwnLink, ProbeReply, SingleSignOnChange, SingleSignOnReply };

type Address = { url: string };
const begin = (path: string, body?: object): Promise<Address> => request(path, { method: 'POST', body });

/** Where the person is after signing in; kept in this tab only. */
const AFTERWARDS = 'holdfast.after-sign-in';

/** Leaves for the provider. @param invitation token of one that is accepted by it. */
export async function goToProvider(invitation?: string): Promise<void> {
  const { url } = await begin('/session/single-sign-on', invitation === undefined ? {} : { invitation });
  const after = invitation === undefined ? location.pathname + location.search : '/';
  sessionStorage.setItem(AFTERWARDS, after);
  location.assign(url);
}

/** Leaves for the provider to link the account. */
export async function goToLink(): Promise<void> {
  const { url } = await begin('/me/single-sign-on/link');
  sessionStorage.setItem(AFTERWARDS, location.pathname);
  location.assign(url);
}

/** Leaves for the provider to prove again who one is: in a window of its own, so that the page that asks stays. */
export async function goToProof(): Promise<void> {
  const { url } = await begin('/me/single-sign-on/proof');
  location.replace(url);
}

export function placeAfterwards(): string {
  const kept = sessionStorage.getItem(AFTERWARDS) ?? '/';
  sessionStorage.removeItem(AFTERWARDS);
  return kept.startsWith('/') && !kept.startsWith('//') && !kept.startsWith('/sign-in/') ? kept : '/';
}

export type Returned = ReturnRequest;

/** What the provider put into the address; undefined when it put nothing there. */
export function readReturned(search: string): Returned | undefined {
  const query = new URLSearchParams(search);
  const state = query.get('state');
  if (state === null) return undefined;
  const [code, iss, error] = [query.get('code'), query.get('iss'), query.get('error')];
  return {
    state,
    ...(code === null ? {} : { code }),
    ...(iss === null ? {} : { iss }),
    ...(error === null ? {} : { error: error.slice(0, 100) }),
  };
}

/** Whether it was begun by somebody who is signed in. */
export const isOwnReturn = ({ state }: Returned): boolean => /^(?:link|proof)\./.test(state);

export const finishSignIn = (returned: Returned): Promise<Session | SecondStep> =>
  request('/session/single-sign-on/return', { method: 'POST', body: returned });
export const finishOwn = (returned: Returned): Promise<{ done: 'linked' | 'proven' }> =>
  request('/me/single-sign-on/return', { method: 'POST', body: returned });

const CHANNEL = 'holdfast.proof';

/** Tells the page that asked for a proof that it was given. */
export function tellProven(): void {
  const channel = new BroadcastChannel(CHANNEL);
  channel.postMessage('proven');
  channel.close();
}

/** Opens the provider in a window of its own, and waits until the proof was given there. Call it while a click is handled. */
export function proveAtProvider(signal: AbortSignal): Promise<void> {
  const opened = window.open('/sign-in/again', '_blank', 'popup,width=560,height=760');
  if (opened === null) {
    throw new ApiError(
      0,
      'browser',
      'The browser opened no window',
      'Allow windows for this site, and try again.',
    );
  }
  const channel = new BroadcastChannel(CHANNEL);
  return new Promise((resolve, reject) => {
    const stop = (then: () => void) => {
      channel.close();
      then();
    };
    channel.onmessage = () => stop(resolve);
    signal.addEventListener('abort', () => stop(() => reject(new DOMException('Cancelled', 'AbortError'))));
  });
}

export const getOwnLink = (signal?: AbortSignal): Promise<OwnLink> =>
  request('/me/single-sign-on', { signal });
export const removeOwnLink = (): Promise<void> => request('/me/single-sign-on', { method: 'DELETE' });
export const getLinkOf = (id: string, signal?: AbortSignal): Promise<{ linked: LinkedIdentity | null }> =>
  request(`/people/${id}/single-sign-on`, { signal });
export const removeLinkOf = (id: string): Promise<void> =>
  request(`/people/${id}/single-sign-on`, { method: 'DELETE' });

export const getSingleSignOn = (signal?: AbortSignal): Promise<SingleSignOnReply> =>
  request('/settings/single-sign-on', { signal });
export const putSingleSignOn = (change: SingleSignOnChange): Promise<SingleSignOnReply> =>
  request('/settings/single-sign-on', { method: 'PUT', body: change });
export const removeSingleSignOn = (): Promise<void> =>
  request('/settings/single-sign-on', { method: 'DELETE' });
export const probeProvider = (issuer: string, caCertificates: string | null): Promise<ProbeReply> =>
  request('/settings/single-sign-on/test', { method: 'POST', body: { issuer, caCertificates } });
export const getOnlyPreview = (signal?: AbortSignal): Promise<OnlyPreview> =>
  request('/settings/single-sign-on/only', { signal });
export const changeOnly = (on: boolean, linked?: number): Promise<OnlyPreview> =>
  request('/settings/single-sign-on/only', {
    method: 'PUT',
    body: { on, ...(linked === undefined ? {} : { linked }) },
  });
