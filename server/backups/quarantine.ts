/**
 * Whether this appliance may write to its targets. It is not the only one of its kind when it was cloned, or when the machine
 * was set back to an older state: then both would write to one repository with the same keys. And one that was recovered may not be what was
 * wanted: until an owner has looked at it, nothing leaves it, and nobody else gets in.
 *
 * Guarantees: an appliance that finds a head which its own keys have signed and it did not make writes nothing to any target
 * from then on, until the owner says that this is the one to go on with. Then it takes a new identity, and the other one, should
 * it still run, finds the repository held by another.
 */
import { randomUUID } from 'node:crypto';
import { recordAudit, systemActor, type Actor } from '../audit/index.ts';
import type { KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { TargetRow } from './queries.ts';
import {
  findQuarantine,
  isReleasedFor,
  letRecoveredGoOn,
  releaseAppliance,
  setQuarantine,
  type QuarantineKind,
} from './quarantine-queries.ts';

interface QuarantineDeps {
  db: Database;
  clock: Clock;
}

export interface Quarantine {
  kind: QuarantineKind;
  at: string;
  reason: string;
}

export async function readQuarantine(db: Database): Promise<Quarantine | undefined> {
  const row = await findQuarantine(db);
  return row === undefined ? undefined : { kind: row.kind, at: row.at.toISOString(), reason: row.reason };
}

/** @throws HoldfastError `wrong_state` while this appliance waits for a person. */
export async function refuseInQuarantine(db: Database): Promise<void> {
  const quarantine = await readQuarantine(db);
  if (quarantine === undefined) return;
  throw new HoldfastError('wrong_state', `This appliance waits in quarantine: ${quarantine.reason}`, {
    hint:
      quarantine.kind !== 'copy'
        ? 'Look whether it is the state that you wanted, see that the old machine is off, and let this one go on: `holdfast quarantine release`.'
        : 'Find out which of the copies is the one to go on with, switch the others off, and release this one: `holdfast quarantine release`.',
  });
}

/** Puts the appliance into quarantine; a second reason does not replace the first. */
export async function quarantine(deps: QuarantineDeps, reason: string): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const first = await setQuarantine(tx, deps.clock.now(), reason);
    if (!first) return;
    await recordAudit(tx, deps.clock, systemActor('quarantine'), {
      action: 'backups.appliance.quarantined',
      objectType: 'appliance',
      result: 'refused',
      detail: { reason },
    });
  });
}

interface ReleaseDeps extends QuarantineDeps {
  keys: Pick<KeyClient, 'renewAuditLog'>;
}

/**
 * The owner's word that this is the one to go on with, and the others are off. Where there may have been a copy, the audit log goes on under
 * another id: the copy may have had its own entries signed under the one before. A recovered appliance has taken an id of its own already.
 *
 * @throws HoldfastError `wrong_state` when the appliance is not in quarantine.
 */
export async function releaseFromQuarantine(deps: ReleaseDeps, actor: Actor): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const before = await findQuarantine(tx);
    if (before === undefined) throw new HoldfastError('wrong_state', 'This appliance is not in quarantine');
    const id = before.kind === 'recovered' ? before.applianceId : randomUUID();
    if (before.kind === 'recovered') await letRecoveredGoOn(tx);
    else {
      await releaseAppliance(tx, id, deps.clock.now());
      await deps.keys.renewAuditLog();
    }
    await recordAudit(tx, deps.clock, actor, {
      action: 'backups.appliance.released',
      objectType: 'appliance',
      objectId: id,
      detail: { kind: before.kind, before: before.applianceId, reason: before.reason },
    });
  });
}

/** True for the first work on a target after a release: it may take the repository over from the copy. */
export async function mayTakeOver(db: Database, target: TargetRow): Promise<boolean> {
  return isReleasedFor(db, target.last_ok_at);
}

/**
 * Compares the newest head with the last one that our keys have signed here.
 *
 * @throws HoldfastError `wrong_state`, after putting the appliance into quarantine, when somebody else made it.
 */
export async function refuseForeignHead(
  deps: QuarantineDeps,
  heads: { newest: number; lastSigned: number; released: boolean },
): Promise<void> {
  if (heads.newest <= heads.lastSigned || heads.released) return;
  const reason = `its target holds state ${String(heads.newest)}, signed with the keys of this appliance, which itself has come to ${String(heads.lastSigned)}. A copy of it has written there, or this machine was set back to an older state.`;
  await quarantine(deps, reason);
  await refuseInQuarantine(deps.db);
}
