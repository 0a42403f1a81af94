/** Requests as people see them, and how long they last. */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../../lib/db.ts';
import type { AskedApproval } from '../../lib/shapes.ts';
import type { Person } from '../access.ts';
import { namePeople, type PeopleDeps } from '../people/people.ts';
import type { Session } from '../schema.ts';
import { isBarred, type ApprovalDeps } from './decide.ts';
import {
  countApprovals,
  getApprovalSettings,
  isPermit,
  listApprovals,
  lockApprovalSettings,
  updateApprovalSettings,
  type ApprovalRow,
} from './queries.ts';
import { requestApproval } from './request-approval.ts';
import {
  isPending,
  type Approval,
  type ApprovalList,
  type ApprovalSettings,
  type ApprovalState,
} from './schema.ts';

const MOST_SHOWN = 500;

/** The newest first. */
export async function readApprovals(
  deps: ApprovalDeps,
  person: Pick<Person, 'userId' | 'role'>,
  which: 'pending' | 'past',
): Promise<ApprovalList> {
  const rows = await listApprovals(deps.db, which, MOST_SHOWN);
  const ids = new Set(
    rows.flatMap((row) => [row.requested_by, row.decided_by ?? [], concernedBy(row)].flat()),
  );
  const people = await namePeople(deps, [...ids]);
  return {
    items: rows.map((row) => toApproval(deps, row, person, people)),
    total: rows.length < MOST_SHOWN ? rows.length : await countApprovals(deps.db, which),
  };
}

/** How many requests this person may decide, and what everybody who works with the appliance should see. */
export async function readPending(
  deps: Pick<PeopleDeps, 'db'>,
  person: { id: string; role: string },
): Promise<{ decidable: number; banners: Session['banners'] }> {
  if (person.role === 'member') return { decidable: 0, banners: [] };
  const rows = await listApprovals(deps.db, 'pending', MOST_SHOWN);
  const decidable =
    person.role === 'auditor' ? 0 : rows.filter((row) => row.requested_by !== person.id).length;
  const next = rows
    .flatMap((row) =>
      row.runs_at === null ? [] : [{ at: row.runs_at.toISOString(), permit: isPermit(row) }],
    )
    .sort((a, b) => (a.at < b.at ? -1 : 1))
    .at(0);
  if (next === undefined) return { decidable, banners: [] };
  const what = next.permit ? 'is permitted without a second person' : 'runs by itself';
  const message = `A dangerous act ${what} at ${next.at.slice(0, 16).replace('T', ' ')} UTC, unless it is withdrawn or refused before.`;
  return { decidable, banners: [{ kind: 'approval', message }] };
}

export async function readApprovalSettings(db: Database): Promise<ApprovalSettings> {
  const row = await getApprovalSettings(db);
  return { expiryHours: row.expiry_hours, waitingHours: row.waiting_hours };
}

/** As they are, held until the transaction ends. */
export async function lookAtApprovalSettings(tx: WriteTransaction): Promise<ApprovalSettings> {
  await lockApprovalSettings(tx);
  return readApprovalSettings(tx);
}

/** A shorter waiting period is itself such an act: otherwise it would be made short first. */
export async function changeApprovalSettings(
  deps: PeopleDeps,
  change: ApprovalSettings,
  actor: Actor,
): Promise<ApprovalSettings | AskedApproval> {
  return writeTransaction(deps.db, async (tx) => {
    const before = await lookAtApprovalSettings(tx);
    const { id } = actor;
    if (change.waitingHours >= before.waitingHours || id === undefined) {
      return setApprovalSettings(tx, deps, change, actor);
    }
    return requestApproval(
      tx,
      deps,
      {
        ...{ act: 'identity.approval-settings.lower', title: LOWER_WAITING, payload: { ...change } },
        ...{ object: { type: 'settings', id: null }, seen: { ...before } },
        reason: 'Change of the settings of approvals',
        consequence: `Where there is one administrator, dangerous acts run after ${change.waitingHours} h instead of ${before.waitingHours} h.`,
      },
      { ...actor, id },
    );
  });
}

export const LOWER_WAITING = 'Shorten the waiting period of dangerous acts';

export async function setApprovalSettings(
  tx: WriteTransaction,
  deps: Pick<PeopleDeps, 'clock'>,
  change: ApprovalSettings,
  actor: Actor,
): Promise<ApprovalSettings> {
  const before = await readApprovalSettings(tx);
  await updateApprovalSettings(tx, {
    expiry_hours: change.expiryHours,
    waiting_hours: change.waitingHours,
  });
  await recordAudit(tx, deps.clock, actor, {
    action: 'identity.approval-settings.changed',
    objectType: 'settings',
    detail: { before, after: change },
  });
  return change;
}

/** Ids of the people whom a request is about. */
function concernedBy({ payload }: ApprovalRow): string[] {
  const { userIds } = payload as { userIds?: string[] };
  return userIds ?? [];
}

function momentOf({ payload }: ApprovalRow): Approval['moment'] {
  const { moment, target } = payload as { moment?: string; target?: string };
  return moment === undefined ? null : { at: moment, target: target ?? null };
}

function toApproval(
  deps: ApprovalDeps,
  row: ApprovalRow,
  person: Pick<Person, 'userId' | 'role'>,
  people: ReadonlyMap<string, { name: string; email: string }>,
): Approval {
  const who = (id: string) => ({ id, name: people.get(id)?.name ?? '', email: people.get(id)?.email ?? '' });
  const state = row.state as ApprovalState;
  const own = row.requested_by === person.userId;
  const administrator = person.role === 'owner' || person.role === 'admin';
  const decide = isPending(state) && !own && administrator;
  return {
    ...{ id: row.id, act: row.act, title: deps.acts[row.act]?.title ?? row.act, state },
    ...{ objectType: row.object_type, objectId: row.object_id, permit: isPermit(row) },
    moment: momentOf(row),
    ...{ reason: row.reason, consequence: row.consequence, concerns: concernedBy(row).map(who) },
    ...{ requestedBy: who(row.requested_by), requestedAt: row.requested_at.toISOString() },
    expiresAt: row.expires_at.toISOString(),
    runsAt: row.runs_at?.toISOString() ?? null,
    decidedBy: row.decided_by === null ? null : who(row.decided_by),
    decidedAt: row.decided_at?.toISOString() ?? null,
    ...{ decisionReason: row.decision_reason, failure: row.failure },
    can: {
      ...{ decide, approve: decide && !isBarred(deps, row, person.userId) },
      withdraw: isPending(state) && own,
    },
  };
}
