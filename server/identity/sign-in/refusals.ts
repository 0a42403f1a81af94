/**
 * Refused sign-ins in the audit log. The first of an hour from each network have an entry of their own; what comes on top is counted and
 * told in one entry when the hour is over, so that a flood cannot fill a log that is kept for years. Each attempt, one by one, is in the
 * log of requests.
 */
import { recordAudit, type Actor } from '../../audit/index.ts';
import { writeTransaction, type WriteTransaction } from '../../lib/db.ts';
import { networkOf } from '../../lib/door/client-address.ts';
import type { SessionDeps } from '../sessions/sessions.ts';
import {
  deleteRefusals,
  lockOldRefusals,
  lockRefusals,
  updateRefusals,
  type RefusalsRow,
} from './queries.ts';

/** Entries of their own in an hour: of one network, and of all together. */
export const MOST_ENTRIES = { network: 20, all: 500 };
const HOUR_MS = 3_600_000;
/** No network has this name. */
const ALL = '';

export interface Refusal {
  action: 'identity.sign-in.refused' | 'identity.second-factor.refused' | 'identity.single-sign-on.refused';
  userId: string | undefined;
  detail?: Record<string, string>;
}

/** In the transaction that counts the attempt. */
export async function recordRefusal(
  tx: WriteTransaction,
  deps: Pick<SessionDeps, 'clock'>,
  { action, userId, detail }: Refusal,
  actor: Actor,
): Promise<void> {
  const now = deps.clock.now();
  // Always in this order, so that two attempts never wait for each other.
  const all = await beginHour(tx, deps, await lockRefusals(tx, ALL, null, now), now);
  if (all.entries >= MOST_ENTRIES.all) {
    await updateRefusals(tx, { ...all, folded: all.folded + 1, last_at: now });
    return;
  }
  const { address = null } = actor;
  const held = await lockRefusals(tx, `at ${networkOf(address ?? '')}`, address, now);
  const one = await beginHour(tx, deps, held, now);
  if (one.entries >= MOST_ENTRIES.network) {
    await updateRefusals(tx, { ...one, folded: one.folded + 1, last_at: now });
    return;
  }
  await updateRefusals(tx, { ...all, entries: all.entries + 1, last_at: now });
  await updateRefusals(tx, { ...one, entries: one.entries + 1, last_at: now });
  await recordAudit(tx, deps.clock, actor, {
    ...{ action, objectType: 'user', objectId: userId ?? null, result: 'refused' },
    ...(detail === undefined ? {} : { detail }),
  });
}

/** Tells what was counted in hours that are over. */
export async function sumUpRefusals(deps: SessionDeps): Promise<void> {
  await writeTransaction(deps.db, async (tx) => {
    const now = deps.clock.now();
    for (const row of await lockOldRefusals(tx, new Date(now.getTime() - HOUR_MS))) {
      await tell(tx, deps, row);
      await deleteRefusals(tx, row.network);
    }
  });
}

/** The row of the present hour. */
async function beginHour(
  tx: WriteTransaction,
  deps: Pick<SessionDeps, 'clock'>,
  row: RefusalsRow,
  now: Date,
): Promise<RefusalsRow> {
  if (now.getTime() - row.since.getTime() < HOUR_MS) return row;
  await tell(tx, deps, row);
  const fresh = { ...row, since: now, entries: 0, folded: 0 };
  await updateRefusals(tx, fresh);
  return fresh;
}

async function tell(tx: WriteTransaction, deps: Pick<SessionDeps, 'clock'>, row: RefusalsRow): Promise<void> {
  if (row.folded === 0) return;
  const actor: Actor = { kind: 'user', ...(row.address === null ? {} : { address: row.address }) };
  await recordAudit(tx, deps.clock, actor, {
    ...{ action: 'identity.sign-in.refused', objectType: 'user', objectId: null, result: 'refused' },
    detail: {
      attempts: row.folded,
      from: row.network === ALL ? 'everywhere' : 'this network',
      since: row.since.toISOString(),
      until: row.last_at.toISOString(),
    },
  });
}
