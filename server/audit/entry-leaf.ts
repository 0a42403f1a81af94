/** What of an entry is hashed into the tree: every column, as one line of canonical JSON. @see LOG.md "Leaves" */
import { canonicalJson } from '../lib/canonical-json.ts';
import type { AuditRow } from './queries.ts';

export const ENTRY_FORMAT = 'holdfast-audit-entry/1';

/** The line, without its end. The 16 random bytes of salt in it keep anyone who has only the hash from guessing the rest. */
export function entryLine(row: AuditRow): string {
  return canonicalJson({
    format: ENTRY_FORMAT,
    number: row.number,
    id: row.id,
    at: row.at.toISOString(),
    actorKind: row.actor_kind,
    actorId: row.actor_id,
    actorLabel: row.actor_label,
    sessionId: row.session_id,
    action: row.action,
    objectType: row.object_type,
    objectId: row.object_id,
    workspaceId: row.workspace_id,
    result: row.result,
    address: row.address,
    requestId: row.request_id,
    detail: row.detail,
    salt: row.salt.toString('hex'),
  });
}
