/**
 * What the audit log learns of a set-back. Each act is told once: the record says which were, and one that is told again after a
 * kill has the id that it had. It enters the log of the data that are live next, so each says all that somebody must know there.
 */
import { createHash } from 'node:crypto';
import type { ActJournal } from '../journal.ts';
import type { HostActor } from '../schema.ts';
import { writeSetBack, type RecordDeps } from './record.ts';
import type { SetBackRecord } from './schema.ts';

export interface TellDeps extends RecordDeps {
  journal: Pick<ActJournal, 'append'>;
}

export const SYSTEM: HostActor = { kind: 'system', label: 'set-back' };

type Verb = 'begun' | 'ended' | 'failed' | 'undo-begun' | 'undone' | 'undo-failed' | 'discarded';

/** The act that its state is the end of; undefined while it is on its way. */
export function lastVerb({ state, problem }: SetBackRecord): Verb | undefined {
  switch (state) {
    case 'kept':
      return problem === null ? 'ended' : 'undo-failed';
    case 'failed':
    case 'undone':
    case 'discarded':
      return state;
    default:
      return undefined;
  }
}

/** @returns the record with the act noted as told. */
export async function tell(
  deps: TellDeps,
  record: SetBackRecord,
  verb: Verb,
  actor: HostActor = SYSTEM,
): Promise<SetBackRecord> {
  if (record.told.includes(verb)) return record;
  const { snapshot, wanted, undo, place, problem } = record;
  await deps.journal.append(actor, {
    id: idOf(record, verb),
    action: `host.set-back.${verb}`,
    objectType: 'set-back',
    objectId: record.id,
    result: verb.endsWith('failed') ? 'failed' : 'done',
    detail: {
      snapshot: snapshot.id,
      snapshotNumber: snapshot.number,
      takenAt: snapshot.takenAt,
      ...(record.moment === undefined ? {} : { moment: record.moment }),
      place,
      reason: wanted.reason,
      wantedAt: wanted.at,
      wantedBy: wanted.actor.id ?? wanted.actor.label ?? wanted.actor.kind,
      ...(wanted.approval === undefined ? {} : { approval: wanted.approval }),
      ...(record.movedAt === null ? {} : { movedAt: record.movedAt }),
      ...(undo === null ? {} : { undoReason: undo.reason, undoWantedAt: undo.at }),
      ...(problem === null ? {} : { message: problem.message }),
    },
  });
  return writeSetBack(deps.dataDir, { ...record, told: [...record.told, verb] });
}

/** The same for the same act, as a UUID of version 8 (RFC 9562, section 5.8). */
function idOf({ id, undo }: SetBackRecord, verb: Verb): string {
  const hash = createHash('sha256')
    .update(`${id} ${verb} ${undo?.at ?? ''}`)
    .digest('hex');
  return [hash.slice(0, 8), hash.slice(8, 12), `8${hash.slice(13, 16)}`, `8${hash.slice(17, 20)}`]
    .concat(hash.slice(20, 32))
    .join('-');
}
