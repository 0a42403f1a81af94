/** Alerts as people see and acknowledge them. */
import { recordAudit, type Actor } from '../audit/index.ts';
import { namePeople, type PeopleDeps } from '../identity/index.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { readPageMark, writePageMark } from '../lib/page-mark.ts';
import { requireOwnerFor } from './escalated.ts';
import {
  countEndedAlerts,
  countOpenAlerts,
  listEndedAlerts,
  listOpenAlerts,
  lockAlert,
  writeAlert,
  type AlertRow,
} from './queries.ts';
import { queueAlerts } from './webhooks/queue-events.ts';
import type { Acknowledgement, Alert, AlertPage, AlertQuery, AlertState } from './schema.ts';

const DAY_MS = 86_400_000;

export interface AlertDeps extends PeopleDeps {
  applianceName(): Promise<string>;
}

/** Open ones are few and come whole: the worst first. Ended ones by pages, the newest end first. */
export async function showAlerts(deps: PeopleDeps, query: AlertQuery): Promise<AlertPage> {
  if (query.state !== 'ended') {
    const items = await describe(deps, await listOpenAlerts(deps.db));
    return { items, total: items.length, nextCursor: null };
  }
  const limit = query.limit ?? 50;
  const before = query.cursor === undefined ? undefined : readPageMark(query.cursor);
  const rows = await listEndedAlerts(deps.db, { limit: limit + 1, before });
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  return {
    items: await describe(deps, page),
    total: await countEndedAlerts(deps.db),
    nextCursor:
      rows.length > limit && last?.ended_at ? writePageMark({ at: last.ended_at, id: last.id }) : null,
  };
}

/** How many wait for somebody. */
export async function countAlerts(db: Database): Promise<{ unacknowledged: number }> {
  return { unacknowledged: await countOpenAlerts(db) };
}

/**
 * Somebody takes care of it: no reminders for some days, unless it gets worse.
 *
 * @throws HoldfastError `not_found`; `wrong_state` when it has ended; `forbidden` for who is no owner, of what went up to them.
 */
export async function acknowledge(
  deps: AlertDeps,
  id: string,
  { note, days }: Acknowledgement,
  actor: Actor,
): Promise<Alert> {
  const now = deps.clock.now();
  const until = new Date(now.getTime() + days * DAY_MS);
  const changes = {
    ...{ acknowledged_at: now, acknowledged_by: actor.id ?? null },
    ...{ silent_until: until, note: note?.trim() || null },
  };
  return change(deps, id, changes, actor, 'acknowledged', { until: until.toISOString() });
}

/** It needs somebody again. @throws as `acknowledge` */
export async function unacknowledge(deps: AlertDeps, id: string, actor: Actor): Promise<Alert> {
  const changes = { acknowledged_at: null, acknowledged_by: null, silent_until: null, note: null };
  return change(deps, id, changes, actor, 'unacknowledged', {});
}

async function change(
  deps: AlertDeps,
  id: string,
  changes: Partial<AlertRow>,
  actor: Actor,
  word: string,
  detail: Record<string, string>,
): Promise<Alert> {
  const applianceName = await deps.applianceName();
  const row = await writeTransaction(deps.db, async (tx) => {
    const before = await lockAlert(tx, id);
    if (before?.raised_at == null) throw new HoldfastError('not_found', 'There is no such alert');
    await requireOwnerFor(tx, before.name, actor);
    if (before.ended_at !== null)
      throw new HoldfastError('wrong_state', 'This alert has ended', { hint: 'Load the page again.' });
    const after = { ...before, ...changes };
    await writeAlert(tx, after);
    await recordAudit(tx, deps.clock, actor, {
      action: `monitoring.alert.${word}`,
      objectType: 'alert',
      objectId: id,
      detail: { name: before.name, ...detail },
    });
    if (after.silent_until !== null)
      await queueAlerts(tx, deps, applianceName, [
        {
          ...{ event: 'alert.acknowledged', alertId: id, name: after.name, state: after.state as AlertState },
          ...{ message: after.message, hint: after.hint, since: after.first_seen_at },
          ...{ until: after.silent_until, note: after.note },
        },
      ]);
    return after;
  });
  const [alert] = await describe(deps, [row]);
  if (alert === undefined) throw new HoldfastError('internal', 'The alert was not described');
  return alert;
}

async function describe(deps: PeopleDeps, rows: readonly AlertRow[]): Promise<Alert[]> {
  const people = await namePeople(deps, [...new Set(rows.flatMap((row) => row.acknowledged_by ?? []))]);
  return rows.map((row) => ({
    ...{ id: row.id, name: row.name, state: row.state as AlertState, message: row.message, hint: row.hint },
    since: row.first_seen_at.toISOString(),
    raisedAt: (row.raised_at ?? row.first_seen_at).toISOString(),
    clearSince: row.clear_since?.toISOString() ?? null,
    endedAt: row.ended_at?.toISOString() ?? null,
    ...{ told: row.told, toldAt: row.told_at?.toISOString() ?? null },
    acknowledged:
      row.acknowledged_at === null
        ? null
        : {
            at: row.acknowledged_at.toISOString(),
            by: row.acknowledged_by,
            byName: people.get(row.acknowledged_by ?? '')?.name ?? null,
            until: (row.silent_until ?? row.acknowledged_at).toISOString(),
            note: row.note,
          },
  }));
}
