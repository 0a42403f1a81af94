/** First run, settings, recovery kits, overview, sessions. */
import type { Static } from 'typebox';
import type {
  ApplianceSettings,
  ApplianceSettingsChange,
  BeginKitReply,
  ClaimRequest,
  HealthCheck,
  Overview,
  RecoveryKit,
  RecoveryKits,
  SetupState,
} from '../../server/appliance/schema.ts';
import type {
  Keeping,
  KeepingChange,
  KeyRegister,
  RegisteredKit,
} from '../../server/appliance/kits/schema.ts';
import type { Session } from '../../server/identity/schema.ts';
import type { AskedApproval } from '../../server/lib/shapes.ts';
import { API, queryText, request } from './client.ts';

export type { Keeping, KeyRegister, RegisteredKit };

export type KitRow = RecoveryKit;
export type Quarantine = { kind: 'recovered' | 'beside' | 'copy'; at: string; reason: string } | null;
export type KitStart = Static<typeof BeginKitReply>;
type SettingsChange = Static<typeof ApplianceSettingsChange>;

export const getSetup = (): Promise<SetupState> => request('/setup');
export const checkClaimCode = (code: string): Promise<void> =>
  request('/setup/claim-code', { method: 'POST', body: { code } });
export const claim = (body: ClaimRequest): Promise<Session> =>
  request('/setup/claim', { method: 'POST', body });

export const getSession = (active = false): Promise<Session> => request('/session', { active });
export const signOut = (): Promise<void> => request('/session', { method: 'DELETE' });

export const getSettings = (signal?: AbortSignal): Promise<ApplianceSettings> =>
  request('/settings/appliance', { signal });
export const putSettings = (body: SettingsChange): Promise<ApplianceSettings> =>
  request('/settings/appliance', { method: 'PUT', body });

export const listKits = (signal?: AbortSignal): Promise<RecoveryKits> =>
  request('/recovery-kits', { signal });
export const beginKit = (recipient: string): Promise<KitStart> =>
  request('/recovery-kits', { method: 'POST', body: { recipient } });
export const proveKit = (kitId: string, response: string): Promise<KitRow> =>
  request(`/recovery-kits/${kitId}/proof`, { method: 'POST', body: { response } });

export const retireKit = (kitId: string, reason: string): Promise<AskedApproval> =>
  request(`/recovery-kits/${kitId}/retire`, { method: 'POST', body: { reason } });

export const rekey = (follows: number, reason: string): Promise<{ generation: number }> =>
  request('/keys/rekey', { method: 'POST', body: { follows, reason } });
export const getQuarantine = async (signal?: AbortSignal): Promise<Quarantine> =>
  (await request<{ quarantine: Quarantine }>('/quarantine', { signal })).quarantine;
export const releaseQuarantine = (): Promise<void> =>
  request('/quarantine/release', { method: 'POST', body: { othersAreOff: true } });
/** Turns write-only mode on or off. `follows` is the generation of keys that was shown. */
export const setWriteOnly = (on: boolean, follows: number, reason: string): Promise<{ generation: number }> =>
  request('/keys/write-only', { method: 'POST', body: { on, follows, reason } });
export const getKeyRegister = (on?: string, signal?: AbortSignal): Promise<KeyRegister> =>
  request('/keys/register', { query: { on }, signal });
export const keyRegisterUrl = (on: string, format: 'csv' | 'json'): string =>
  `${API}/keys/register/export${queryText({ on, format })}`;
export const listKeepings = async (kitId: string, signal?: AbortSignal): Promise<Keeping[]> =>
  (await request<{ items: Keeping[] }>(`/recovery-kits/${kitId}/keepings`, { signal })).items;
export const recordKeeping = (kitId: string, body: KeepingChange): Promise<Keeping> =>
  request(`/recovery-kits/${kitId}/keepings`, { method: 'POST', body });

export const sealedKitUrl = (kitId: string): string => `${API}/recovery-kits/${kitId}/sealed`;
export const removeSealedKit = (kitId: string): Promise<void> =>
  request(`/recovery-kits/${kitId}/sealed`, { method: 'DELETE' });

export const getOverview = (signal?: AbortSignal): Promise<Overview> => request('/overview', { signal });
export const listHealthChecks = async (signal?: AbortSignal): Promise<HealthCheck[]> =>
  (await request<{ items: HealthCheck[] }>('/health-checks', { signal })).items;
