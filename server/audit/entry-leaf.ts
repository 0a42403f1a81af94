/**
 * What of an entry is hashed into the tree. The leaf is a stub: number, time, kind, and the hash of the entry itself, whose line holds
 * every column. So an entry whose period has ended can go, and what stays still shows that it was there, when, and of which kind. @see
 * LOG.md "Leaves"
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../lib/canonical-json.ts';
import { hashLeaf } from '../lib/merkle/hashing.ts';
import type { AuditRow } from './queries.ts';

export const ENTRY_FORMAT = 'holdfast-audit-entry/1';
const LEAF_FORMAT = 'holdfast-audit-leaf/1';

/** Somebody looked at content: kept for a shorter time. Everything else is an act. */
export type EntryKind = 'act' | 'read';

/** Part of the format: what is one of them stays one. */
export const READ_ACTIONS: readonly string[] = ['workspaces.file.downloaded', 'workspaces.file.previewed'];

/** What stays of an entry. */
export interface EntryStub {
  /** Decimal text. */
  number: string;
  /** RFC 3339, UTC, milliseconds. */
  at: string;
  kind: EntryKind;
  /** SHA-256 of the entry's line, in hex. */
  body: string;
}

export function kindOf(action: string): EntryKind {
  return READ_ACTIONS.includes(action) ? 'read' : 'act';
}

/** The entry's line, without its end. The 16 random bytes of salt in it keep anyone who has only the hash from guessing the rest. */
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

export function stubOfRow(row: AuditRow): EntryStub {
  const { number, action } = row;
  return { number, at: row.at.toISOString(), kind: kindOf(action), body: hashLine(entryLine(row)) };
}

/** @param entry what the line says, parsed. */
export function stubOfLine(line: Uint8Array, entry: Record<string, unknown>): EntryStub {
  const { number, at, action } = entry;
  return { number: String(number), at: String(at), kind: kindOf(String(action)), body: hashLine(line) };
}

/** The line that is hashed as the leaf. */
export function leafLine({ number, at, kind, body }: EntryStub): string {
  return canonicalJson({ format: LEAF_FORMAT, number, at, kind, body });
}

export function hashStub(stub: EntryStub): Buffer {
  return hashLeaf(Buffer.from(leafLine(stub)));
}

function hashLine(line: string | Uint8Array): string {
  return createHash('sha256').update(line).digest('hex');
}
