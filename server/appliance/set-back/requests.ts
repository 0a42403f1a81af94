/** Asking for a set-back, or for discarding what one set aside, and what became of that: the browser's way, which needs a second person. */
import type { Actor } from '../../audit/index.ts';
import { namePeople, requestApproval, type Person, type PeopleDeps } from '../../identity/index.ts';
import { canonicalJson } from '../../lib/canonical-json.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { AskedApproval } from '../../lib/shapes.ts';
import type { JsonObject } from '../../lib/tables.ts';
import { connectHost, requireHost } from '../host/client.ts';
import type { SetBackView } from '../host/set-back/schema.ts';
import { hostActor } from '../host-machine.ts';
import { hasGrown, tellLost } from './loss.ts';
import { findNewestRequest, lockOpenPermit, type RequestRow } from './permit-queries.ts';
import {
  exactPoint,
  lookAtSetBack,
  SET_BACK,
  SET_BACK_ACT,
  type PermitDeps,
  type SetBackPoint,
  type WantedSetBack,
} from './permits.ts';
import { countWrittenSince, findSnapshotPlace } from './queries.ts';
import type { SetBackRequest, SetBackRequestState, WrittenSince } from './schema.ts';

export const DISCARD = 'Discard the data from before a set-back';

export type RequestDeps = PermitDeps & PeopleDeps;

/** What ended is told for that long. */
const TOLD_MS = 7 * 86_400_000;

/** @throws HoldfastError `not_found`; `wrong_state` while data are set aside; `conflict` while it is asked for or approved. */
export async function askForSetBack(
  deps: RequestDeps,
  actor: Actor,
  { reason, ...asked }: SetBackPoint & { reason: string },
): Promise<AskedApproval> {
  const point = exactPoint(asked);
  const asker = requirePerson(actor);
  const { record } = await lastSetBack(deps);
  if (record?.state === 'kept')
    throw new HoldfastError('wrong_state', 'The data from before the last set-back are still set aside', {
      hint: 'Undo that one first, or discard them.',
    });
  return writeTransaction(deps.db, async (tx) => {
    const { snapshot, moment, target } = point;
    const place = await findSnapshotPlace(tx, point);
    if (place === undefined)
      throw new HoldfastError('not_found', 'This snapshot is on no target any more', {
        hint: 'Choose another one: its list says where each lies.',
      });
    const permit = await lockOpenPermit(tx, point);
    const seen = await lookAtSetBack(tx, deps, point);
    const holds = permit !== undefined && canonicalJson(permit.seen) === canonicalJson(seen);
    if (holds && permit.expires_at > deps.clock.now())
      throw new HoldfastError('conflict', 'It is approved already', {
        hint: 'Begin it, or withdraw the approval first.',
      });
    const dataOf = moment === undefined ? place.takenAt : new Date(moment);
    const lost = await countWrittenSince(tx, dataOf);
    const wanted: WantedSetBack = {
      snapshot,
      ...(moment === undefined ? {} : { moment }),
      ...(target === undefined ? {} : { target }),
      lost,
    };
    return requestApproval(
      tx,
      deps,
      {
        ...{ act: SET_BACK_ACT, title: SET_BACK, permit: true, reason: reason.trim(), seen },
        ...{ object: { type: 'snapshot', id: snapshot }, payload: wanted as unknown as JsonObject },
        consequence: `The appliance goes back to its data of ${moment === undefined ? minute(dataOf) : moment} (${moment === undefined ? '' : 'by the log that follows '}snapshot ${String(place.number)}). All that was written since goes out of use: ${tellLost(lost)}. It is set aside for seven days, in which this can be undone. Nobody can work meanwhile, and everybody signs in again. Approving does not begin it: an owner begins it within 24 hours, with the recovery kit.`,
      },
      asker,
    );
  });
}

/** @throws HoldfastError `wrong_state` when nothing is set aside; `conflict` while it is asked for. */
export async function askForDiscard(deps: RequestDeps, actor: Actor, reason: string): Promise<AskedApproval> {
  const asker = requirePerson(actor);
  const { record } = await lastSetBack(deps);
  if (record?.state !== 'kept')
    throw new HoldfastError('wrong_state', 'No data from before a set-back are kept on this machine');
  const { snapshot, moment, movedAt } = record;
  return writeTransaction(deps.db, (tx) =>
    requestApproval(
      tx,
      deps,
      {
        ...{ act: 'appliance.set-back.discard', title: DISCARD, reason: reason.trim() },
        ...{ object: { type: 'set-back', id: record.id }, payload: {}, seen: seenOf(record) },
        consequence: `What was written between ${minute(new Date(moment ?? snapshot.takenAt))} and ${minute(new Date(movedAt ?? record.at))} is then on this machine no more, and the set-back cannot be undone. Snapshots of that time stay on their target.`,
      },
      asker,
    ),
  );
}

export async function lookAtDiscard(
  _tx: WriteTransaction,
  deps: Pick<PermitDeps, 'config'>,
): Promise<JsonObject> {
  return seenOf((await lastSetBack(deps)).record);
}

/** Approved. hostd remembers it durably before it answers, so that it is done once; its journal says who asked. */
export async function discardApproved(deps: Pick<PermitDeps, 'config'>, actor: Actor): Promise<void> {
  await requireHost(connectHost(deps.config)).send('POST', '/set-back/discard', { actor: hostActor(actor) });
}

/** What was asked for last about this snapshot; null when there is nothing to say of it any more. */
export async function readRequest(
  deps: RequestDeps,
  person: Pick<Person, 'userId' | 'role'>,
  point: SetBackPoint,
  lost: WrittenSince,
): Promise<SetBackRequest | null> {
  const row = await findNewestRequest(deps.db, SET_BACK_ACT, point);
  if (row === undefined) return null;
  const now = deps.clock.now();
  const state = await stateOf(deps, row, now);
  const over = row.permit_ended_at ?? row.permit_expires_at ?? row.decided_at ?? now;
  if (now.getTime() - over.getTime() > TOLD_MS) return null;
  const people = await namePeople(
    deps,
    [row.requested_by, row.decided_by, row.permit_ended_by].filter((id) => id !== null),
  );
  const who = (id: string | null) =>
    id === null ? null : { id, name: people.get(id)?.name ?? '', email: people.get(id)?.email ?? '' };
  const { lost: lostThen } = row.payload as unknown as WantedSetBack;
  return {
    ...{ id: row.id, state, reason: row.reason, consequence: row.consequence },
    askedBy: who(row.requested_by) ?? { id: row.requested_by, name: '', email: '' },
    ...{ askedAt: row.requested_at.toISOString(), decideUntil: row.expires_at.toISOString() },
    permittedAt: row.runs_at?.toISOString() ?? null,
    ...{ decidedBy: who(row.decided_by), decidedAt: row.decided_at?.toISOString() ?? null },
    ...{ decisionReason: row.decision_reason, failure: row.failure },
    ...{ until: row.permit_expires_at?.toISOString() ?? null, endedBy: who(row.permit_ended_by) },
    endedAt: row.permit_ended_at?.toISOString() ?? null,
    ...{ lostThen, grown: state === 'permitted' && hasGrown(lostThen, lost) },
    canWithdraw:
      state === 'permitted' ||
      ((state === 'open' || state === 'waiting') && row.requested_by === person.userId),
  };
}

async function stateOf(deps: RequestDeps, row: RequestRow, now: Date): Promise<SetBackRequestState> {
  if (row.state !== 'executed') return row.state as SetBackRequestState;
  switch (row.permit_state) {
    case 'open': {
      if (row.permit_expires_at !== null && row.permit_expires_at <= now) return 'lapsed';
      const seen = await lookAtSetBack(deps.db, deps, row.payload as unknown as WantedSetBack);
      return canonicalJson(row.seen) === canonicalJson(seen) ? 'permitted' : 'void';
    }
    case 'used':
      return 'used';
    case 'withdrawn':
      return 'taken-back';
    case 'expired':
      return 'lapsed';
    default:
      return 'void';
  }
}

function requirePerson(actor: Actor): Actor & { id: string } {
  const { id } = actor;
  if (id !== undefined) return { ...actor, id };
  throw new HoldfastError('wrong_state', 'At the console it needs no approval', {
    hint: 'holdfast set-back does it at once.',
  });
}

function lastSetBack({ config }: Pick<PermitDeps, 'config'>): Promise<SetBackView> {
  return requireHost(connectHost(config)).get('/set-back');
}

function seenOf(record: SetBackView['record']): JsonObject {
  return { setBack: record?.id ?? 'none', state: record?.state ?? 'none' };
}

/** `2026-11-22 06:15 UTC`. */
function minute(at: Date): string {
  return `${at.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
