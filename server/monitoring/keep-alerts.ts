/**
 * Each minute: looks whether all is well, keeps the alerts by it, tells people. Guarantees: an alert and its mail are one transaction, so
 * whoever is told finds it in the list; two servers that look at once tell once; a look that cannot be made is itself an alert.
 */
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { recordAudit, systemActor } from '../audit/index.ts';
import { listAdministratorIds, listOwnerIds } from '../identity/index.ts';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database, type WriteTransaction } from '../lib/db.ts';
import { messageOf } from '../lib/errors.ts';
import { withAdvisoryLock } from '../lib/lock.ts';
import type { Logger } from '../lib/log.ts';
import { queueMail, type QueueMailDeps } from '../mail/index.ts';
import { follow, type AlertEvent, type Condition, type OpenAlert } from './follow.ts';
import { deleteAlert, deleteEndedBefore, lockOpenAlerts, writeAlert, type AlertRow } from './queries.ts';
import type { AlertSettings, AlertState } from './schema.ts';
import { readAlertSettings } from './settings.ts';
import { queueAlerts, type AlertNotice } from './webhooks/queue-events.ts';

/** What a look finds of one thing; several of one name count as one. */
export interface Finding {
  name: string;
  state: 'ok' | AlertState;
  message: string;
  hint?: string | undefined;
}

export interface KeepAlertsDeps extends QueueMailDeps {
  db: Database;
  clock: Clock;
  log: Logger;
  applianceName(): Promise<string>;
  /** Everything that is looked at. */
  look: () => Promise<readonly Finding[]>;
}

/** A year and a month: the yearly look back finds them. */
const KEEP_ENDED_MS = 400 * 86_400_000;
const MOST_IN_A_MAIL = 25;
const TEXT_LIMIT = 500;
/** Their own notices are mailed, or mail is what fails. */
const NOT_MAILED: readonly string[] = ['certificate', 'mail'];

interface Told {
  alert: OpenAlert;
  event: AlertEvent;
}

/** @returns whether the look could be made. */
export async function keepAlerts(deps: KeepAlertsDeps): Promise<boolean> {
  const conditions = await look(deps);
  const applianceName = await deps.applianceName();
  await withAdvisoryLock(deps.db, 'alerts', () => keep(deps, conditions, applianceName), { tryOnly: true });
  return conditions.every(({ name }) => name !== LOOK);
}

async function look(deps: KeepAlertsDeps): Promise<Condition[]> {
  try {
    return conditionsOf(await deps.look());
  } catch (error) {
    deps.log.error({ err: error }, 'Whether all is well could not be found out');
    const hint = 'The log of the server says more. Until then no other alert is raised or ends.';
    return [{ name: LOOK, state: 'bad', message: shorten(messageOf(error)), hint }];
  }
}

const LOOK = 'looking after everything';

/** One condition a name: the worst state, and every message. */
export function conditionsOf(findings: readonly Finding[]): Condition[] {
  const bad = findings.flatMap((one) => (one.state === 'ok' ? [] : [{ ...one, state: one.state }]));
  return [...Map.groupBy(bad, ({ name }) => name)].map(([name, all]) => ({
    name: name.slice(0, 200),
    state: all.some(({ state }) => state === 'bad') ? 'bad' : 'warn',
    message: shorten(all.map(({ message }) => message).join('. ')),
    hint: shorten(all.flatMap(({ hint }) => hint ?? []).join(' ')) || null,
  }));
}

function shorten(text: string): string {
  return text.length <= TEXT_LIMIT ? text : `${text.slice(0, TEXT_LIMIT - 1)}…`;
}

async function keep(
  deps: KeepAlertsDeps,
  conditions: readonly Condition[],
  applianceName: string,
): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const settings = await readAlertSettings(tx);
    const now = deps.clock.now();
    const open = new Map((await lockOpenAlerts(tx)).map((row) => [row.name, row]));
    const found = new Map(conditions.map((condition) => [condition.name, condition]));
    // Nothing is known of the others while they could not be looked at.
    const names = found.has(LOOK) ? [LOOK] : new Set([...open.keys(), ...found.keys()]);
    const events: Told[] = [];
    for (const name of names) {
      const row = open.get(name);
      const step = follow(row && toOpenAlert(row), found.get(name), now, settings);
      if (step === undefined) continue;
      if (step.alert === null) {
        if (row !== undefined) await deleteAlert(tx, row.id);
        continue;
      }
      if (row !== undefined && isDeepStrictEqual(step, { alert: toOpenAlert(row) })) continue;
      const mailed = step.event !== undefined && isMailed(step.alert, step.event, settings);
      const id = row?.id ?? randomUUID();
      const hooked = await tellReceivers(
        tx,
        deps,
        { id, alert: step.alert, event: step.event },
        applianceName,
      );
      const alert = {
        ...step.alert,
        told: step.alert.told + (mailed ? 1 : 0),
        toldAt: mailed || hooked ? now : step.alert.toldAt,
      };
      await writeAlert(tx, toRow(id, alert, row, step.event === 'ended' ? now : null));
      if (step.event !== undefined) await note(tx, deps, id, alert, step.event);
      if (mailed && step.event !== undefined) events.push({ alert, event: step.event });
    }
    if (events.length > 0) await tell(tx, deps, events, settings);
    await deleteEndedBefore(tx, new Date(now.getTime() - KEEP_ENDED_MS));
  });
}

/** @returns whether anybody wants to know. */
async function tellReceivers(
  tx: WriteTransaction,
  deps: KeepAlertsDeps,
  { id, alert, event }: { id: string; alert: OpenAlert; event: AlertEvent | undefined },
  applianceName: string,
): Promise<boolean> {
  if (event === undefined) return false;
  const { name, state, message, hint, firstSeenAt: since } = alert;
  const notice: AlertNotice = { event: `alert.${event}`, alertId: id, name, state, message, hint, since };
  return (await queueAlerts(tx, deps, applianceName, [notice])).size > 0;
}

/** Somebody who was told of it is told that it ended, whatever the settings are by now. */
function isMailed(alert: OpenAlert, event: AlertEvent, settings: AlertSettings): boolean {
  if (settings.recipients === 'nobody' || NOT_MAILED.includes(alert.name)) return false;
  if (event === 'ended') return alert.told > 0;
  return alert.state === 'bad' || settings.least === 'warn';
}

async function note(
  tx: WriteTransaction,
  deps: KeepAlertsDeps,
  id: string,
  { name, state, message }: OpenAlert,
  event: AlertEvent,
): Promise<void> {
  deps.log[event === 'ended' ? 'info' : 'warn']({ alert: name, state, event }, message);
  if (event === 'reminded') return;
  await recordAudit(tx, deps.clock, systemActor('monitoring'), {
    action: `monitoring.alert.${event}`,
    objectType: 'alert',
    objectId: id,
    detail: { name, state, message },
  });
}

async function tell(
  tx: WriteTransaction,
  deps: KeepAlertsDeps,
  events: readonly Told[],
  settings: AlertSettings,
): Promise<void> {
  const recipients =
    settings.recipients === 'owners' ? await listOwnerIds(tx) : await listAdministratorIds(tx);
  const lines = events.slice(0, MOST_IN_A_MAIL).map(({ alert, event }) => ({
    ...{ event, state: alert.state, name: alert.name, message: alert.message },
    ...(alert.hint === null ? {} : { hint: alert.hint }),
    since: alert.firstSeenAt.toISOString(),
  }));
  const data = { lines, more: events.length - lines.length };
  for (const userId of recipients) await queueMail(tx, deps, { to: { userId }, template: 'alert', data });
}

function toOpenAlert(row: AlertRow): OpenAlert {
  return {
    ...{ name: row.name, state: row.state as AlertState, message: row.message, hint: row.hint },
    ...{ firstSeenAt: row.first_seen_at, raisedAt: row.raised_at, clearSince: row.clear_since },
    ...{ toldAt: row.told_at, told: row.told },
    ...{ acknowledgedAt: row.acknowledged_at, silentUntil: row.silent_until },
  };
}

function toRow(id: string, alert: OpenAlert, before: AlertRow | undefined, endedAt: Date | null) {
  return {
    ...{ id, name: alert.name, state: alert.state, message: alert.message, hint: alert.hint },
    ...{ first_seen_at: alert.firstSeenAt, raised_at: alert.raisedAt, clear_since: alert.clearSince },
    ...{ ended_at: endedAt, told_at: alert.toldAt, told: alert.told },
    ...{ acknowledged_at: alert.acknowledgedAt, silent_until: alert.silentUntil },
    // Whoever acknowledged it did so for a milder one.
    acknowledged_by: alert.acknowledgedAt === null ? null : (before?.acknowledged_by ?? null),
    note: alert.acknowledgedAt === null ? null : (before?.note ?? null),
  };
}
