/** What the routes of the log do. */
import { randomUUID } from 'node:crypto';
import type { Static } from 'typebox';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { readPageMark, writePageMark } from '../lib/page-mark.ts';
import type { Actor } from './actor.ts';
import type { AuditRow } from './queries.ts';
import { findRows } from './find-rows.ts';
import { recordAudit } from './record-audit.ts';
import { deleteFilterRow, listActions, listFilterRows, saveFilterRow } from './search-queries.ts';
import type { AuditEntry, AuditPage, AuditQuery, SavedFilter, SaveFilter } from './schema.ts';

const DEFAULT_PAGE = 50;
const MOST_FILTERS = 50;

/**
 * One page of the audit log, newest first.
 *
 * @throws HoldfastError as `findRows` does, and `invalid_input` for a cursor that no page gave out.
 */
export async function listAudit(
  { db }: { db: Database },
  { cursor, limit = DEFAULT_PAGE, ...filter }: AuditQuery,
): Promise<Static<typeof AuditPage>> {
  const after = cursor === undefined ? undefined : readPageMark(cursor, 'number');
  const rows = await findRows(db, filter, { after, limit: limit + 1 });
  const items = rows.slice(0, limit).map(toEntry);
  const last = rows.at(limit - 1);
  return {
    items,
    nextCursor:
      rows.length > limit && last !== undefined ? writePageMark({ at: last.at, id: last.number }) : null,
  };
}

export async function listAuditActions({ db }: { db: Database }): Promise<{ items: string[] }> {
  return { items: await listActions(db) };
}

interface FilterDeps {
  db: Database;
  clock: Clock;
}

export async function listSavedFilters(deps: FilterDeps, actor: Actor): Promise<{ items: SavedFilter[] }> {
  const rows = await listFilterRows(deps.db, requirePerson(actor));
  return { items: rows.map(({ created_at: at, ...row }) => ({ ...row, createdAt: at.toISOString() })) };
}

/** @throws HoldfastError `conflict` when there are many already. */
export async function saveFilter(deps: FilterDeps, actor: Actor, filter: SaveFilter): Promise<SavedFilter> {
  const userId = requirePerson(actor);
  const name = filter.name.trim();
  if (name === '') throw new HoldfastError('invalid_input', 'A filter needs a name');
  return writeTransaction(deps.db, async (tx) => {
    const before = await listFilterRows(tx, userId);
    if (before.length >= MOST_FILTERS && !before.some((row) => row.name === name)) {
      throw new HoldfastError('conflict', `More than ${MOST_FILTERS} filters are not kept`, {
        hint: 'Delete one that is not used any more.',
      });
    }
    const createdAt = deps.clock.now();
    const { query } = filter;
    const id = await saveFilterRow(tx, {
      id: randomUUID(),
      user_id: userId,
      name,
      query,
      created_at: createdAt,
    });
    await recordAudit(tx, deps.clock, actor, {
      action: 'audit.filter.saved',
      objectType: 'filter',
      objectId: id,
    });
    return { id, name, query, createdAt: createdAt.toISOString() };
  });
}

/** @throws HoldfastError `not_found` */
export async function deleteFilter(deps: FilterDeps, actor: Actor, id: string): Promise<void> {
  const userId = requirePerson(actor);
  await writeTransaction(deps.db, async (tx) => {
    if (!(await deleteFilterRow(tx, userId, id)))
      throw new HoldfastError('not_found', 'There is no such filter');
    await recordAudit(tx, deps.clock, actor, {
      action: 'audit.filter.deleted',
      objectType: 'filter',
      objectId: id,
    });
  });
}

function requirePerson(actor: Actor): string {
  if (actor.kind === 'user' && actor.id !== undefined) return actor.id;
  throw new HoldfastError('forbidden', 'Filters belong to people', {
    hint: 'Sign in in the browser to keep one.',
  });
}

function toEntry(row: AuditRow): AuditEntry {
  return {
    number: row.number,
    id: row.id,
    at: row.at.toISOString(),
    actorKind: row.actor_kind as AuditEntry['actorKind'],
    actorId: row.actor_id,
    actorLabel: row.actor_label,
    action: row.action,
    objectType: row.object_type,
    objectId: row.object_id,
    workspaceId: row.workspace_id,
    result: row.result as AuditEntry['result'],
    address: row.address,
    requestId: row.request_id,
    detail: row.detail as AuditEntry['detail'],
  };
}
