/** What of a snapshot is to be restored: its folders and files with their names opened, chosen by path. */
import { HoldfastError } from '../lib/errors.ts';
import { nameKeyId, openNodeNames, type WorkspaceDeps } from '../workspaces/index.ts';
import type { FolderLine, NodeLine } from './appliance-queries.ts';
import type { SnapshotRecord } from './engine.ts';
import type { ChunkReader } from './pipeline/chunk-reader.ts';
import { openSnapshotListing } from './snapshot-listing.ts';

const NAME_BATCH = 500;

export type TreeKeys = Pick<WorkspaceDeps, 'keys' | 'sealer'>;
export type TreeSource = { reader: ChunkReader; snapshot: SnapshotRecord } & TreeKeys;

/** A file to restore: where it goes, and how it is opened. */
export interface WantedFile {
  /** Within the workspace, `/` between parts. */
  path: string;
  node: NodeLine & { file: NonNullable<NodeLine['file']> };
}

/**
 * @param paths files and folders with all below them; everything when absent
 * @returns the files, and the folders that must be there for them, parents first
 * @throws HoldfastError `not_found` when a path is not in the snapshot
 */
export async function listWanted(
  source: TreeSource,
  { paths, signal }: { paths?: readonly string[]; signal: AbortSignal },
): Promise<{ files: WantedFile[]; folders: string[] }> {
  const folders = await nameFolders(source);
  const wanted = paths?.map((path) => path.replace(/^\/+|\/+$/g, ''));
  const unmet = new Set(wanted);
  const isWanted = (path: string): boolean => {
    if (wanted === undefined) return true;
    const hit = wanted.find((one) => one === '' || path === one || path.startsWith(`${one}/`));
    if (hit !== undefined) unmet.delete(hit);
    return hit !== undefined;
  };
  const mayHold = (folder: string | undefined) =>
    folder !== undefined &&
    (wanted === undefined ||
      wanted.some(
        (one) =>
          folder === '' || one === '' || `${folder}/`.startsWith(`${one}/`) || one.startsWith(`${folder}/`),
      ));
  const files: WantedFile[] = [];
  const needed = new Set<string>();
  for (const path of folders.values()) if (path !== '' && isWanted(path)) needed.add(path);
  for await (const batch of readFileLines(source, (line) => mayHold(folders.get(line.parentId)))) {
    signal.throwIfAborted();
    const names = await openNames(source, batch);
    for (const node of batch) {
      const folder = folders.get(node.parentId) ?? '';
      const path = joinPath(folder, names.get(node.id) ?? '');
      if (!isWanted(path)) continue;
      files.push({ path, node });
      if (folder !== '') needed.add(folder);
    }
  }
  const [missing] = unmet;
  if (missing !== undefined) {
    throw new HoldfastError('not_found', `The snapshot does not hold ${missing}`, {
      hint: 'Paths are those of the workspace, with / between parts. Nothing was restored.',
    });
  }
  return { files, folders: [...needed].sort() };
}

/** Path of each folder by id; the top of a sole workspace is ''. */
async function nameFolders(source: TreeSource): Promise<Map<string, string>> {
  const lines = await openSnapshotListing(source.reader, source.snapshot).folders();
  const names = await openNames(source, [...lines.values()]);
  const roots = [...lines.values()].filter((line) => line.parentId === null);
  const paths = new Map<string, string>();
  const pathOf = (line: FolderLine, depth: number): string | undefined => {
    const known = paths.get(line.id);
    if (known !== undefined) return known;
    const name = names.get(line.id) ?? '';
    if (line.parentId === null) {
      const path = roots.length === 1 ? '' : name;
      paths.set(line.id, path);
      return path;
    }
    const parent = lines.get(line.parentId);
    const above = parent === undefined || depth > 1_000 ? undefined : pathOf(parent, depth + 1);
    if (above === undefined) return undefined;
    const path = joinPath(above, name);
    paths.set(line.id, path);
    return path;
  };
  for (const line of lines.values()) pathOf(line, 0);
  return paths;
}

export async function openNames(
  source: TreeKeys,
  lines: readonly FolderLine[],
): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  const byWorkspace = Map.groupBy(lines, (line) => line.workspaceId);
  for (const [workspaceId, group] of byWorkspace) {
    const keyId = await nameKeyId(source, workspaceId);
    for (let start = 0; start < group.length; start += NAME_BATCH) {
      const batch = group.slice(start, start + NAME_BATCH);
      const rows = batch.map((line) => ({
        id: line.id,
        workspace_id: line.workspaceId,
        name_sealed: Buffer.from(line.nameSealed, 'base64'),
      }));
      const opened = await openNodeNames(source, keyId, rows);
      for (const [index, line] of batch.entries()) names.set(line.id, opened[index] ?? '');
    }
  }
  return names;
}

async function* readFileLines(
  source: Pick<TreeSource, 'reader' | 'snapshot'>,
  mayBeWanted: (line: NodeLine) => boolean,
): AsyncIterable<WantedFile['node'][]> {
  let batch: WantedFile['node'][] = [];
  for await (const line of openSnapshotListing(source.reader, source.snapshot).allNodes()) {
    if (isFileLine(line) && mayBeWanted(line)) batch.push(line);
    if (batch.length < NAME_BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

export function isFileLine(line: NodeLine): line is WantedFile['node'] {
  return line.kind === 'file' && line.file != null;
}

function joinPath(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}
