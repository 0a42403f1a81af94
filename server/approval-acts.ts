/** The one list of acts that need a second person or a waiting period: what each does when it is approved. */
import {
  DISCARD,
  discardApproved,
  givePermit,
  lookAtKit,
  lookAtDiscard,
  lookAtSetBack,
  RETIRE_KIT,
  retireAsApproved,
  SET_BACK,
  type PermitDeps,
  type RetireDeps,
  type WantedSetBack,
} from './appliance/index.ts';
import { applyRetention, lookAtRetention, SHORTER_RETENTION, type RetentionChange } from './audit/index.ts';
import {
  FORGET_PROTECTED,
  forgetAsApproved,
  letGo,
  lookAtPolicy,
  lookAtSnapshot,
  REMOVE_SNAPSHOTS,
  savePolicy,
  SHORTER_BACKUP_RETENTION,
  type Removal,
  type RetentionPolicy,
} from './backups/index.ts';
import {
  DEACTIVATE_SEVERAL,
  deactivateAll,
  lookAtApprovalSettings,
  lookAtFactors,
  lookAtPeople,
  LOWER_WAITING,
  REMOVE_SECOND_FACTORS,
  setApprovalSettings,
  takeFactorsAway,
  type ApprovalActs,
  type ApprovalSettings,
  type PersonLifeDeps,
  type SecondFactorRemoval,
} from './identity/index.ts';

export function approvalActs(deps: PersonLifeDeps & RetireDeps & Pick<PermitDeps, 'config'>): ApprovalActs {
  return {
    'audit.retention.lower': {
      title: SHORTER_RETENTION,
      right: 'settings.change',
      look: lookAtRetention,
      perform: (tx, payload, actor) => applyRetention(tx, deps, actor, payload as unknown as RetentionChange),
    },
    'backups.retention.change': {
      title: SHORTER_BACKUP_RETENTION,
      right: 'backups.manage',
      look: lookAtPolicy,
      perform: (tx, payload, actor) =>
        savePolicy(
          tx,
          deps,
          actor,
          payload as unknown as { targetId: string; policy: RetentionPolicy; agreed: string[] },
        ),
    },
    'backups.retention.remove': {
      title: REMOVE_SNAPSHOTS,
      right: 'backups.manage',
      look: lookAtPolicy,
      perform: (tx, payload, actor) => letGo(tx, deps, payload as unknown as Removal, actor),
    },
    'backups.snapshot.forget': {
      title: FORGET_PROTECTED,
      right: 'backups.manage',
      look: lookAtSnapshot,
      perform: (tx, payload, actor) => forgetAsApproved(tx, deps, payload, actor),
    },
    'identity.approval-settings.lower': {
      title: LOWER_WAITING,
      right: 'settings.change',
      look: async (tx) => ({ ...(await lookAtApprovalSettings(tx)) }),
      perform: (tx, payload, actor) =>
        setApprovalSettings(tx, deps, payload as unknown as ApprovalSettings, actor),
    },
    'identity.people.deactivate': {
      title: DEACTIVATE_SEVERAL,
      right: 'people.manage',
      look: (tx, payload) => lookAtPeople(tx, payload.userIds as string[]),
      perform: (tx, payload, actor) => deactivateAll(tx, deps, payload.userIds as string[], actor),
    },
    'identity.second-factors.remove': {
      title: REMOVE_SECOND_FACTORS,
      right: 'people.manage',
      look: (tx, payload) => lookAtFactors(tx, payload as unknown as SecondFactorRemoval),
      barred: (payload) => (payload as unknown as SecondFactorRemoval).userIds,
      perform: (tx, payload, actor) =>
        takeFactorsAway(tx, deps, payload as unknown as SecondFactorRemoval, actor),
    },
    'keys.kit.retire': {
      title: RETIRE_KIT,
      right: 'keys.manage',
      look: (tx, payload) => lookAtKit(tx, deps, payload),
      perform: (tx, payload, actor) => retireAsApproved(tx, deps, payload, actor),
    },
    'appliance.set-back': {
      title: SET_BACK,
      right: 'recovery.manage',
      look: (tx, payload) => lookAtSetBack(tx, deps, payload as unknown as WantedSetBack),
      perform: (tx, payload, actor, id) =>
        givePermit(tx, deps, payload as unknown as WantedSetBack, actor, id),
    },
    'appliance.set-back.discard': {
      title: DISCARD,
      right: 'recovery.manage',
      look: (tx) => lookAtDiscard(tx, deps),
      perform: (_tx, _payload, actor) => discardApproved(deps, actor),
    },
  };
}
