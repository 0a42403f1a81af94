/** The machine under the appliance: state, unlock ways, power, network, certificate, updates, hardening, shares. */
import type { AcmeChange, AcmeState } from '../../server/appliance/certificate/acme/schema.ts';
import type { CertificateState } from '../../server/appliance/certificate/schema.ts';
import type { HardeningItem, HardeningReport } from '../../server/appliance/host/hardening/report.ts';
import type { NetworkSettings } from '../../server/appliance/host/network/settings.ts';
import type { NetworkState } from '../../server/appliance/host/network/trial.ts';
import type { HostState, NewWay, TpmPcrs, UnlockWay } from '../../server/appliance/host/schema.ts';
import type {
  OpenedSsh,
  OpenSshRequest,
  SshKeyFacts,
  SshState,
} from '../../server/appliance/host/ssh/schema.ts';
import type { AddShareRequest, SharePlace, ShareStatus } from '../../server/appliance/host/shares/schema.ts';
import type {
  BeginUploadRequest,
  BundleUpload,
  CheckedBundle,
  CurrentUpload,
  FoundBundles,
  MaintenanceWindow,
  PieceTaken,
  RestartWhen,
  Update,
  UpdateOverview,
} from '../../server/appliance/host/updates/schema.ts';
import { API, request } from './client.ts';
import { sendBytes } from './send-bytes.ts';

export type {
  AcmeState,
  BundleUpload,
  CertificateState,
  CheckedBundle,
  FoundBundles,
  HardeningItem,
  HostState,
  MaintenanceWindow,
  NetworkSettings,
  NetworkState,
  NewWay,
  OpenedSsh,
  RestartWhen,
  SharePlace,
  ShareStatus,
  SshKeyFacts,
  SshState,
  TpmPcrs,
  UnlockWay,
  Update,
  UpdateOverview,
};
export type NewShare = Omit<AddShareRequest, 'actor'>;
export type SshOpening = Omit<OpenSshRequest, 'actor'>;

export const getHost = (signal?: AbortSignal): Promise<HostState> => request('/host', { signal });
export const switchPower = (action: 'restart' | 'shutdown'): Promise<void> =>
  request('/host/power', { method: 'POST', body: { action } });
export const growVolume = (openedBy?: string): Promise<void> =>
  request('/host/volume/grow', { method: 'POST', body: openedBy === undefined ? {} : { openedBy } });
export const makeSupportBundle = (): Promise<object> =>
  request('/host/support-bundle', { method: 'POST', body: {} });

export const claimVolume = (recoveryKey: string, daily: NewWay): Promise<{ items: UnlockWay[] }> =>
  request('/host/claim-volume', { method: 'POST', body: { recoveryKey, daily } });
export const addWay = (way: NewWay, openedBy?: string): Promise<UnlockWay> =>
  request('/host/ways', { method: 'POST', body: openedBy === undefined ? { way } : { way, openedBy } });
export const renameWay = (id: string, label: string): Promise<UnlockWay> =>
  request(`/host/ways/${id}`, { method: 'PATCH', body: { label } });
export const removeWay = (id: string): Promise<void> => request(`/host/ways/${id}`, { method: 'DELETE' });
export const testWay = (id: string, secret?: string): Promise<UnlockWay> =>
  request(`/host/ways/${id}/test`, { method: 'POST', body: secret === undefined ? {} : { secret } });
export const removeUnknownKeyslots = (): Promise<void> =>
  request('/host/unknown-keyslots', { method: 'DELETE' });

export const getNetwork = (signal?: AbortSignal): Promise<NetworkState> =>
  request('/host/network', { signal });
export const tryNetwork = (settings: NetworkSettings): Promise<NetworkState> =>
  request('/host/network', { method: 'PUT', body: settings });
export const confirmNetwork = (): Promise<NetworkState> =>
  request('/host/network/confirm', { method: 'POST' });
export const giveUpNetwork = (): Promise<NetworkState> =>
  request('/host/network/give-up', { method: 'POST' });

export const getSsh = (signal?: AbortSignal): Promise<SshState> => request('/host/ssh', { signal });
export const openSsh = (opening: SshOpening): Promise<OpenedSsh> =>
  request('/host/ssh', { method: 'POST', body: opening });
export const closeSsh = (): Promise<SshState> => request('/host/ssh', { method: 'DELETE' });

export const getCertificate = (signal?: AbortSignal): Promise<CertificateState> =>
  request('/certificate', { signal });
export const installCertificate = (certificate: string, key?: string): Promise<CertificateState> =>
  request('/certificate', {
    method: 'PUT',
    body: key === undefined ? { certificate } : { certificate, key },
  });
export const getAcme = (signal?: AbortSignal): Promise<AcmeState> => request('/certificate/acme', { signal });
export const changeAcme = (body: AcmeChange): Promise<AcmeState> =>
  request('/certificate/acme', { method: 'PUT', body });
export const orderCertificate = (): Promise<AcmeState> =>
  request('/certificate/acme/orders', { method: 'POST' });
export const removeCertificate = (): Promise<CertificateState> =>
  request('/certificate', { method: 'DELETE' });
export const requestCertificate = (names: readonly string[]): Promise<CertificateState> =>
  request('/certificate/request', { method: 'POST', body: { names } });

export const listHardening = async (signal?: AbortSignal): Promise<HardeningReport> =>
  request('/host/hardening', { signal });

export const getUpdates = (signal?: AbortSignal): Promise<UpdateOverview> =>
  request('/host/updates', { signal });
export const fetchBundle = (url: string, certificateAuthority?: string): Promise<CheckedBundle> =>
  request('/host/updates/fetch', {
    method: 'POST',
    body: certificateAuthority === undefined ? { url } : { url, certificateAuthority },
  });
export const findBundles = (): Promise<FoundBundles> => request('/host/updates/check', { method: 'POST' });
export const removeBundle = (sha256: string): Promise<void> =>
  request(`/host/updates/bundles/${sha256}`, { method: 'DELETE' });
export const installUpdate = (sha256: string, restart: RestartWhen, skipReason?: string): Promise<Update> =>
  request('/host/updates/install', {
    method: 'POST',
    body: skipReason === undefined ? { sha256, restart } : { sha256, restart, skipReason },
  });
export const goBack = (restart: RestartWhen): Promise<Update> =>
  request('/host/updates/way-back', { method: 'POST', body: { restart } });
export const setRestart = (id: string, restart: RestartWhen): Promise<Update> =>
  request(`/host/updates/${id}/restart`, { method: 'POST', body: { restart } });
export const cancelUpdate = (id: string): Promise<Update> =>
  request(`/host/updates/${id}/cancel`, { method: 'POST' });
export const setWindow = (window: MaintenanceWindow | null): Promise<void> =>
  request('/host/updates/window', { method: 'PUT', body: { window } });

export const getBundleUpload = (signal?: AbortSignal): Promise<CurrentUpload> =>
  request('/host/updates/upload', { signal });
/** Begins, or answers how far the same file has come. */
export const beginBundleUpload = (wanted: BeginUploadRequest): Promise<BundleUpload> =>
  request('/host/updates/upload', { method: 'POST', body: wanted });
export const discardBundleUpload = (id: string): Promise<void> =>
  request(`/host/updates/upload/${id}`, { method: 'DELETE' });

/** Sends the piece that begins at `offset`. @throws ApiError; an AbortError when `signal` says so. */
export async function sendBundlePiece(
  id: string,
  offset: number,
  piece: Blob,
  options: { signal: AbortSignal; onSent: (bytes: number) => void },
): Promise<PieceTaken> {
  const headers = { 'upload-offset': String(offset) };
  const url = `${API}/host/updates/upload/${id}`;
  return JSON.parse(await sendBytes('PATCH', url, piece, { ...options, headers })) as PieceTaken;
}

export const listShares = async (signal?: AbortSignal): Promise<ShareStatus[]> =>
  (await request<{ items: ShareStatus[] }>('/host/shares', { signal })).items;
export const addShare = (share: NewShare): Promise<ShareStatus> =>
  request('/host/shares', { method: 'POST', body: share });
export const removeShare = (id: string): Promise<void> => request(`/host/shares/${id}`, { method: 'DELETE' });
