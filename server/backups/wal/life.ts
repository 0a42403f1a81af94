/**
 * Which life of the database a log belongs to. A cluster and its timeline do not say it: two recoveries from one timeline get the same
 * next one, and a copy of the appliance, or a disk that was set back, goes on in the same. So each life has a random name of its own,
 * which pieces and snapshots carry, and pieces of one life never continue those of another.
 *
 * A new one begins with a new memory of shipping, when the appliance has become another one (recovered, released from quarantine), when
 * shipping is switched on, and when what PostgreSQL has is not what was shipped.
 */
import { createHash } from 'node:crypto';
import type { ClientBase } from 'pg';
import type { DatabaseAddress, Database } from '../../lib/db.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { readWalBytes, readWalPosition, withClient, type WalPosition } from '../../lib/postgres/index.ts';
import { applianceId } from '../target-repository.ts';
import { openShipState, readShipState, type LogMark, type ShipState } from './ship-state.ts';

/** Enough that no other history has the same there: each page has its place, each record a checksum. */
const MARK_BYTES = 8192;

/** How the log can be known again at a position. @param bytes that end there */
export function markOf(at: { timeline: number; segmentBytes: number; to: bigint }, bytes: Buffer): LogMark {
  const last = bytes.subarray(-MARK_BYTES);
  const sha256 = createHash('sha256').update(last).digest('hex');
  return { ...at, from: at.to - BigInt(last.length), sha256 };
}

/**
 * Begins a new life where this is not the one that was shipped.
 *
 * @param thorough also compares what PostgreSQL still has of what was shipped: it can only have changed while nobody was connected.
 * @returns where the log is now.
 */
export async function settleLife(
  state: ShipState,
  client: ClientBase,
  appliance: string,
  thorough: boolean,
): Promise<WalPosition> {
  const before = state.life();
  // Before the position is read: it may be passed meanwhile.
  const shipped = state.list().filter((at) => at.life === before);
  const marks = state.marks().filter(({ targetId }) => shipped.some((at) => at.targetId === targetId));
  const now = await readWalPosition(client);
  const history = { appliance, systemId: now.systemId, timeline: now.timeline };
  const known = state.history();
  const isOther =
    known !== undefined &&
    (known.appliance !== appliance || known.systemId !== now.systemId || known.timeline !== now.timeline);
  const isBehind = shipped.some((at) => at.systemId === now.systemId && at.position > now.flushed);
  const hasChanged = async (): Promise<boolean> => {
    for (const { mark } of marks)
      if (mark.timeline === now.timeline && !(await isThere(client, mark))) return true;
    return false;
  };
  const isNew = isOther || isBehind || (thorough && (await hasChanged()));
  if (isNew) state.renewLife(before);
  if (known === undefined || isOther) state.noteHistory(history);
  return now;
}

/** What PostgreSQL does not have any more tells nothing. */
async function isThere(client: ClientBase, mark: LogMark): Promise<boolean> {
  try {
    const bytes = await readWalBytes(client, mark);
    return createHash('sha256').update(bytes).digest('hex') === mark.sha256;
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'unavailable') return true;
    throw error;
  }
}

/**
 * The life that a snapshot belongs to, asked after its end: a life that begins later ships nothing of before.
 *
 * @returns undefined when nothing was ever shipped, or by an older version that knew of no lives.
 */
export async function lifeOfSnapshot(deps: {
  db: Database;
  dataDir: string;
  adminAddress: DatabaseAddress;
}): Promise<string | undefined> {
  if (readShipState(deps.dataDir, () => true) !== true) return undefined;
  const state = openShipState(deps.dataDir);
  try {
    const appliance = await applianceId(deps.db);
    await withClient(deps.adminAddress, 'holdfast snapshot', (client) =>
      settleLife(state, client, appliance, true),
    );
    return state.life() || undefined;
  } finally {
    state.close();
  }
}
