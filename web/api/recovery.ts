/** A lost appliance that comes back on this machine: open while nobody owns it, to whoever has the claim code. */
import type {
  LookAnswer,
  LookRequest,
  RecoveryPlace,
  RecoveryStatus,
  StartRecoveryRequest,
} from '../../server/appliance/host/recovery/schema.ts';
import { request } from './client.ts';

export type { LookAnswer, RecoveryPlace, RecoveryStatus };
export type OpenedRepository = NonNullable<LookAnswer['opened']>;
export interface RecoveryOffer {
  /** On the machine image; elsewhere the command does it. */
  machine: boolean;
  tpm: boolean;
  status: RecoveryStatus;
}
type Coded<T> = Omit<T, 'actor'> & { code: string };
export type RecoveryStart = Omit<StartRecoveryRequest, 'actor'>;

export const getRecovery = (signal?: AbortSignal): Promise<RecoveryOffer> =>
  request('/setup/recovery', { signal });
export const lookForBackups = (body: Coded<LookRequest>): Promise<LookAnswer> =>
  request('/setup/recovery/look', { method: 'POST', body });
export const startRecovery = (body: Coded<StartRecoveryRequest>): Promise<void> =>
  request('/setup/recovery', { method: 'POST', body });
