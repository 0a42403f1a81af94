/**
 * Guarantees: an entry is written in the transaction of the act it describes, so there is no act without an entry and no
 * entry without the act. Relies on: the triggers of migration 0001, which refuse every change to a written entry.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { isIP } from 'node:net';
import type { Clock } from '../lib/clock.ts';
import type { Database, WriteTransaction } from '../lib/db.ts';
import { HoldfastError } from '../lib/errors.ts';
import type { Actor } from './actor.ts';
import { insertAuditEntry } from './queries.ts';

/** What happened to what. Opaque ids only: no name, e-mail, file name, path of a person or secret belongs in it. */
export interface AuditRecord {
  /** Of the entry, where the act had one before: an entry with that id is not written again. */
  id?: string | undefined;
  /** `<module>.<noun>.<past verb>`, such as `workspaces.file.uploaded`. */
  action: string;
  /** Kind of thing acted upon, such as `file`. */
  objectType: string;
  objectId?: string | null | undefined;
  workspaceId?: string | null | undefined;
  /** `done` unless said otherwise. */
  result?: 'done' | 'refused' | 'failed' | undefined;
  /** Facts that an auditor needs, JSON, at most 8 KiB. */
  detail?: Record<string, unknown> | undefined;
}

const ACTION = /^[a-z][a-z-]*(\.[a-z][a-z-]*){2,3}$/;
const DETAIL_LIMIT_BYTES = 8192;
const LABEL_LIMIT = 64;

/**
 * Writes one audit entry.
 *
 * @param tx the transaction of the act itself; anything else is refused.
 * @throws HoldfastError `internal` when the entry is malformed: the act then does not happen either.
 */
export async function recordAudit(
  tx: WriteTransaction,
  clock: Clock,
  actor: Actor,
  entry: AuditRecord,
): Promise<void> {
  // The type says so already; a cast must not get round it.
  if (!(tx as Database).isTransaction)
    throw new HoldfastError('internal', 'An audit entry is written in the transaction of its act');
  if (!ACTION.test(entry.action)) {
    throw new HoldfastError('internal', 'An audit action is named <module>.<noun>.<past verb>', {
      detail: entry.action,
    });
  }
  const detail = JSON.stringify(entry.detail ?? {});
  if (Buffer.byteLength(detail) > DETAIL_LIMIT_BYTES) {
    throw new HoldfastError('internal', 'An audit entry holds at most 8 KiB of detail', {
      detail: entry.action,
    });
  }
  await insertAuditEntry(tx, {
    id: entry.id ?? randomUUID(),
    at: clock.now(),
    actor_kind: actor.kind,
    actor_id: actor.kind === 'user' ? (actor.id ?? null) : null,
    actor_label: actor.label?.slice(0, LABEL_LIMIT) ?? null,
    session_id: actor.sessionId ?? null,
    action: entry.action,
    object_type: entry.objectType,
    object_id: entry.objectId ?? null,
    workspace_id: entry.workspaceId ?? null,
    result: entry.result ?? 'done',
    address: actor.address !== undefined && isIP(actor.address) !== 0 ? actor.address : null,
    request_id: actor.requestId ?? null,
    detail,
    salt: randomBytes(16),
  });
}
