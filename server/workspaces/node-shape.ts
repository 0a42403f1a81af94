/** How rows become what the API shows. */
import { isPreviewImage } from './sniff.ts';
import type { NodeRow } from './queries.ts';
import type { Node } from './schema.ts';

const NS_PER_MS = 1_000_000n;

export function toNode(row: NodeRow, name: string): Node {
  return {
    id: row.id,
    workspaceId: row.workspace_id,
    parentId: row.parent_id,
    kind: row.kind === 'file' ? 'file' : 'folder',
    name,
    sizeBytes: row.size_bytes === null ? null : Number(row.size_bytes),
    mediaType: row.media_type,
    preview: previewOf(row.media_type),
    modifiedAt: nsToInstant(row.mtime_ns),
    createdAt: row.created_at.toISOString(),
    version: row.version,
  };
}

export function previewOf(mediaType: string | null): Node['preview'] {
  if (mediaType === null) return null;
  if (isPreviewImage(mediaType)) return 'image';
  return mediaType === 'text/plain' ? 'text' : null;
}

/** Nanoseconds since the epoch. */
export function instantToNs(at: Date): string {
  return String(BigInt(at.getTime()) * NS_PER_MS);
}

/** RFC 3339, milliseconds. Files may carry any time; what a calendar date cannot hold is shown as its nearest end. */
function nsToInstant(ns: string): string {
  const limit = 253_402_300_799_999;
  const ms = Number(BigInt(ns) / NS_PER_MS);
  return new Date(Math.min(Math.max(ms, -62_135_596_800_000), limit)).toISOString();
}
