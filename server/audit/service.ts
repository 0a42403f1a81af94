import type { Static } from 'typebox';
import type { Database } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import { listAuditEntries, type AuditRow } from './queries.ts';
import type { AuditPage, AuditQuery } from './schema.ts';
import { type AuditEntry } from './schema.ts';

export interface AuditDeps {
  db: Database;
}

const DEFAULT_PAGE = 50;

/**
 * One page of the audit log, newest first.
 *
 * @throws HoldfastError `invalid_input` for a cursor that no page gave out.
 */
export async function listAudit(
  deps: AuditDeps,
  query: Static<typeof AuditQuery>,
): Promise<Static<typeof AuditPage>> {
  const limit = query.limit ?? DEFAULT_PAGE;
  const rows = await listAuditEntries(deps.db, {
    before: query.cursor === undefined ? undefined : readCursor(query.cursor),
    action: query.action,
    actorId: query.actorId,
    objectId: query.objectId,
    limit: limit + 1,
  });
  const items = rows.slice(0, limit).map(toEntry);
  const last = items.at(-1);
  return {
    items,
    nextCursor: rows.length > limit && last ? Buffer.from(last.number).toString('base64url') : null,
  };
}

function readCursor(cursor: string): string {
  const number = Buffer.from(cursor, 'base64url').toString('latin1');
  if (/^[1-9][0-9]{0,17}$/.test(number)) return number;
  throw new HoldfastError('invalid_input', 'This page mark is not one of ours', {
    hint: 'Start again from the first page.',
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
