/** The one list of acts that need a second person or a waiting period: what each does when it is approved. */
import { applyRetention, SHORTER_RETENTION, type RetentionChange } from './audit/index.ts';
import type { Deps } from './deps.ts';
import {
  LOWER_WAITING,
  setApprovalSettings,
  type ApprovalActs,
  type ApprovalSettings,
} from './identity/index.ts';

export function approvalActs(deps: Pick<Deps, 'clock'>): ApprovalActs {
  return {
    'audit.retention.lower': {
      title: SHORTER_RETENTION,
      right: 'settings.change',
      perform: (tx, payload, actor) => applyRetention(tx, deps, actor, payload as unknown as RetentionChange),
    },
    'identity.approval-settings.lower': {
      title: LOWER_WAITING,
      right: 'settings.change',
      perform: (tx, payload, actor) =>
        setApprovalSettings(tx, deps, payload as unknown as ApprovalSettings, actor),
    },
  };
}
