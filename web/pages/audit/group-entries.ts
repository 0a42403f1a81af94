/** An import writes an entry a batch, an upload of files one a file: neighbours of one kind are shown as one. */
import type { AuditEntry } from '../../api/shapes.ts';
import { formatBytes, plural } from '../../lib/format.ts';

export interface EntryGroup {
  newest: AuditEntry;
  /** Newest first. */
  entries: AuditEntry[];
  files: number;
  folders: number;
  sizeBytes: number;
}

/** Entries that belong together when one follows the other. Single acts of people stay single. */
const FAMILIES: Partial<Record<string, string>> = {
  'workspaces.files.imported': 'import',
  'workspaces.folders.imported': 'import',
  'workspaces.files.uploaded': 'upload',
  'workspaces.folders.created': 'upload',
  'workspaces.file.uploaded': 'upload',
};
const GAP_MS = 10 * 60_000;

/** @param each keeps every entry on its own. */
export function groupEntries(entries: readonly AuditEntry[], each: boolean): EntryGroup[] {
  const groups: EntryGroup[] = [];
  for (const entry of entries) {
    const last = groups.at(-1);
    if (!each && last !== undefined && belongs(last, entry)) last.entries.push(entry);
    else groups.push({ newest: entry, entries: [entry], files: 0, folders: 0, sizeBytes: 0 });
  }
  for (const group of groups) {
    for (const { action, detail } of group.entries) {
      group.files += action === 'workspaces.file.uploaded' ? 1 : numberOf(detail['files']);
      group.folders += numberOf(detail['folders']);
      group.sizeBytes += numberOf(detail['sizeBytes']);
    }
  }
  return groups;
}

function belongs(group: EntryGroup, entry: AuditEntry): boolean {
  const { newest, entries } = group;
  const family = FAMILIES[entry.action];
  return (
    family !== undefined &&
    family === FAMILIES[newest.action] &&
    entry.result === newest.result &&
    entry.actorKind === newest.actorKind &&
    entry.actorId === newest.actorId &&
    entry.workspaceId === newest.workspaceId &&
    Date.parse(entries.at(-1)?.at ?? newest.at) - Date.parse(entry.at) < GAP_MS
  );
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

/** `3 files, 1 folder, 12 KiB`. */
export function sumOf(group: EntryGroup): string {
  return [
    group.files > 0 ? plural(group.files, 'file') : '',
    group.folders > 0 ? plural(group.folders, 'folder') : '',
    group.files > 0 ? formatBytes(group.sizeBytes) : '',
  ]
    .filter(Boolean)
    .join(', ');
}
