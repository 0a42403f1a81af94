/**
 * Gives committed entries their places in the tree.
 *
 * Guarantees: each committed entry gets exactly one place, within a second while the server runs; places have no gap and never
 * change; whoever writes an entry waits for nobody. Relies on: the trigger of migration 0009, which puts each new entry's number
 * into `audit_pending` in the transaction of the act. So an entry of a long transaction waits there from its commit on, whatever
 * numbers went by; `number` is the order of insertion, the position that of becoming visible.
 *
 * A batch is one transaction: places, hashes, and the numbers taken off the waiting ones. A kill anywhere leaves a batch whole or
 * not at all. Of several processes the one that has the advisory lock works; the lock ends with the transaction, so none that
 * died keeps it. Should two ever work at once, the primary key of the places refuses the second.
 */
import { setImmediate as yieldToOthers } from 'node:timers/promises';
import { crashPoint } from '../lib/crash-point.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { messageOf } from '../lib/errors.ts';
import { LOCKS } from '../lib/lock.ts';
import type { Logger } from '../lib/log.ts';
import { hashStub, stubOfRow } from './entry-leaf.ts';
import { readEdge, type StoredNode } from './tree/stored-tree.ts';
import {
  hasPendingEntries,
  insertLeaves,
  listPendingEntries,
  tryLockSequencing,
} from './tree/tree-queries.ts';

/** Some 10 ms of hashing: longer would hold up the requests of the same process. */
const BATCH_ENTRIES = 500;
/** Asking costs a fifth of a millisecond. Notifications would make every act wait for one lock at its commit. */
const LOOK_EVERY_MS = 400;

/**
 * Places what waits, all of it.
 *
 * @returns how many entries got a place; 0 also while another process is at it.
 */
export async function sequenceEntries(db: Database): Promise<number> {
  for (let placed = 0; ;) {
    if (!(await hasPendingEntries(db))) return placed;
    const count = await writeTransaction(db, sequenceBatch);
    if (count > 0) crashPoint('audit.batch.committed');
    placed += count;
    if (count < BATCH_ENTRIES) return placed;
    await yieldToOthers();
  }
}

async function sequenceBatch(tx: Database): Promise<number> {
  if (!(await tryLockSequencing(tx, LOCKS.auditSequencer))) return 0;
  const rows = await listPendingEntries(tx, BATCH_ENTRIES);
  if (rows.length === 0) return 0;
  const edge = await readEdge(tx);
  const first = edge.size;
  const nodes: StoredNode[] = [];
  const hashes = rows.map((row) => {
    const hash = hashStub(stubOfRow(row));
    nodes.push(...edge.append(hash));
    return hash;
  });
  crashPoint('audit.batch.hashed');
  await insertLeaves(tx, { first, numbers: rows.map((row) => row.number), hashes, nodes });
  crashPoint('audit.batch.written');
  return rows.length;
}

/** Places entries as they come, until stopped. */
export function startSequencer(deps: { db: Database; log: Logger }): { stop(): Promise<void> } {
  let stopped = false;
  let failing = false;
  let timer: NodeJS.Timeout | undefined;
  let working = Promise.resolve();
  const look = async () => {
    try {
      await sequenceEntries(deps.db);
      failing = false;
    } catch (error) {
      // Said once: a database that is away for an hour would fill the log.
      if (!failing)
        deps.log.error({ err: error }, `Audit entries wait for their places: ${messageOf(error)}`);
      failing = true;
    }
    if (!stopped) timer = setTimeout(start, LOOK_EVERY_MS);
  };
  const start = () => {
    working = look();
  };
  start();
  return {
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await working;
    },
  };
}
