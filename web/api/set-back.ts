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
/** A snapshot, or a later moment that is gone on to from it. */
export interface SetBackPoint {
  snapshot: string;
  moment?: string;
  /** Which of the targets that hold it is read. */
  target?: string;
}

export const planSetBack = (point: SetBackPoint, signal?: AbortSignal): Promise<SetBackPlan> =>
  request(`${AT}/plan`, { query: { ...point }, signal });
export const planUndo = (signal?: AbortSignal): Promise<UndoPlan> => request(`${AT}/undo`, { signal });
/** @param kit secret; the machine opens the backups with it, and forgets it. */
export const checkSetBack = (point: SetBackPoint, kit: string): Promise<CheckedSetBack> =>
  request(`${AT}/check`, { method: 'POST', body: { ...point, kit } });
/** @param body its kit is secret; the machine keeps it in memory until the set-back is over. */
export const startSetBack = (body: StartSetBackBody): Promise<void> => request(AT, { method: 'POST', body });
export const undoSetBack = (body: UndoSetBackBody): Promise<void> =>
  request(`${AT}/undo`, { method: 'POST', body });
/** Asks another administrator for it. */
export const discardSetBack = (body: { name: string; reason: string }): Promise<AskedApproval> =>
  request(`${AT}/discard`, { method: 'POST', body });
/** Asks another administrator for it; what is approved may be begun once within a day. */
export const askForSetBack = (point: SetBackPoint, reason: string): Promise<AskedApproval> =>
  request(`${AT}/requests`, { method: 'POST', body: { ...point, reason } });
export const withdrawPermit = (id: string): Promise<void> =>
  request(`${AT}/permits/${id}/withdraw`, { method: 'POST' });
