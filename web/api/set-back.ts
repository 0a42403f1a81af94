/** Setting this appliance back to a snapshot, undoing that, discarding what was set aside. Only on the machine image. */
import type { CheckedSetBack, SetBackView } from '../../server/appliance/host/set-back/schema.ts';
import type {
  SetBackPlan,
  SetBackRequest,
  StartSetBackBody,
  UndoPlan,
  UndoSetBackBody,
  WrittenSince,
} from '../../server/appliance/set-back/schema.ts';
import type { AskedApproval } from '../../server/lib/shapes.ts';
import { request } from './client.ts';

export type { CheckedSetBack, SetBackPlan, SetBackRequest, SetBackView, UndoPlan, WrittenSince };
export type SetBackRecord = NonNullable<SetBackView['record']>;

const AT = '/host/set-back';

export const getSetBack = (signal?: AbortSignal): Promise<SetBackView> => request(AT, { signal });
export const planSetBack = (snapshot: string, signal?: AbortSignal): Promise<SetBackPlan> =>
  request(`${AT}/plan`, { query: { snapshot }, signal });
export const planUndo = (signal?: AbortSignal): Promise<UndoPlan> => request(`${AT}/undo`, { signal });
/** @param kit secret; the machine opens the backups with it, and forgets it. */
export const checkSetBack = (snapshot: string, kit: string): Promise<CheckedSetBack> =>
  request(`${AT}/check`, { method: 'POST', body: { snapshot, kit } });
/** @param body its kit is secret; the machine keeps it in memory until the set-back is over. */
export const startSetBack = (body: StartSetBackBody): Promise<void> => request(AT, { method: 'POST', body });
export const undoSetBack = (body: UndoSetBackBody): Promise<void> =>
  request(`${AT}/undo`, { method: 'POST', body });
/** Asks another administrator for it. */
export const discardSetBack = (body: { name: string; reason: string }): Promise<AskedApproval> =>
  request(`${AT}/discard`, { method: 'POST', body });
/** Asks another administrator for it; what is approved may be begun once within a day. */
export const askForSetBack = (snapshot: string, reason: string): Promise<AskedApproval> =>
  request(`${AT}/requests`, { method: 'POST', body: { snapshot, reason } });
export const withdrawPermit = (id: string): Promise<void> =>
  request(`${AT}/permits/${id}/withdraw`, { method: 'POST' });
